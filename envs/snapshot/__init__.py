"""Snapshot: the teacher chooses where practice starts."""
