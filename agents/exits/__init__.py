"""Exits for any agent: thresholds for a budget, controls of the same cost, what they come to."""
