"""Episodes as they were played: stored, read and drawn."""
