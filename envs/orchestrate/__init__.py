"""Orchestrate: the teacher chooses how much supervision a task gets, and what is noted down."""
