"""A stranger's agent in a process of its own, without network or files."""
