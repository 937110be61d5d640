"""Tiny transformers, many at once: in torch, and in a C kernel."""
