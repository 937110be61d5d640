"""Other people's libraries on populations: Stable-Baselines3, Ray and RLlib, Minari; a module each, imported by itself."""
