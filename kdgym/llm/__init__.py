"""How a language model is reached: models on disk, and one small protocol for everything that answers conversations."""
