"""The environment families, one file each."""

if __name__ != "kdgym.envs":
    raise ImportError("Import this package as kdgym.envs, not as envs; a second copy would be another set of classes.")
