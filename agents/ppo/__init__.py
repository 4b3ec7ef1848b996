"""PPO on frozen features, as a Stable-Baselines3 algorithm."""
