"""A task seen through other skills, or with its content destroyed."""
