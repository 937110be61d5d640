"""Label: the teacher chooses whose labels of a pool a student believes, when, and which ones are bought."""
