"""Teachers that fit wherever actions are numbers."""
