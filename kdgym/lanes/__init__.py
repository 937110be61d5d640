"""What happened in the lanes of the Orchestrate family, task by task, and what memories are worth elsewhere."""
