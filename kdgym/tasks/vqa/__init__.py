"""VQA: questions about small pictures of digits."""
