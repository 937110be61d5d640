"""Distill: the teacher chooses what a student imitates, and how strongly."""
