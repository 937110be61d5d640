"""Teachers of Select: which items of a pool a student trains on, and by whose scores."""
