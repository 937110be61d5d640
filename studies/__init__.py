"""Experiments with their results: scripts, run as ``python -m kdgym.studies.<name>``."""

if __name__ != "kdgym.studies":
    raise ImportError(
        "Import this package as kdgym.studies, not as studies; a second copy would be another set of classes."
    )
