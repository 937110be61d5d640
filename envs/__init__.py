"""The environment families, a folder each: its page, its settings, and machinery that is its alone."""

if __name__ != "kdgym.envs":
    raise ImportError("Import this package as kdgym.envs, not as envs; a second copy would be another set of classes.")
