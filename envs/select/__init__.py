"""Select: the teacher chooses which items of a pool a student trains on, by whose scores."""
