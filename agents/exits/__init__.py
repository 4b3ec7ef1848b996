"""Exits for any agent: thresholds for a budget, what they come to, controls of the same cost."""
