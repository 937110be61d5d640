"""A package that adds to kdgym: a task, an environment with an action space of its own, and a teacher."""
