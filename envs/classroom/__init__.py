"""Classroom: several teachers, one student."""
