"""Teachers of Distill: what a student imitates, how strongly, and whom it trusts."""
