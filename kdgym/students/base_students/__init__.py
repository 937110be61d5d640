"""Who begins an episode: pools of pretrained students, with misconceptions or habitual errors."""
