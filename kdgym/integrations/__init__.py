"""Other libraries on kdgym's environments: Stable-Baselines3, Ray, RLlib and Minari."""
