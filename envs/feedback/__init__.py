"""Feedback and Tutoring: the teacher comments on attempts."""
