"""Teachers of Feedback and of Tutoring."""
