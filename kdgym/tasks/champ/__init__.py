"""CHAMP: mathematical problems with hints, for language models."""
