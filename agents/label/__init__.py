"""Teachers of Label: whose labels a student believes, when, and which ones it buys."""
