"""Teachers of Label: whose labels a student believes, when, and which true ones it buys."""
