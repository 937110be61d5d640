"""Base students, with which episodes begin: pools of pretrained students, with misconceptions or habitual errors."""
