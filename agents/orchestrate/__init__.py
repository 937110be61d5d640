"""Teachers of the Orchestrate family: lanes of supervision, and notes."""
