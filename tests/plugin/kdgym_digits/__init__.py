"""A package that adds to kdgym: a task, students, an environment with an action space of its own, and teachers."""
