"""Code: short programs in a language of lists, and what they compute."""
