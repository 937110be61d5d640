"""Several teachers, one student: who sees and does what, and what it costs that everybody thinks of himself."""
