"""Teachers, one file each."""

if __name__ != "kdgym.agents":
    raise ImportError(
        "Import this package as kdgym.agents, not as agents; a second copy would be another set of classes."
    )
