"""The environments as Gymnasium and Stable-Baselines3 see them."""
