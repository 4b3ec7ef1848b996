"""Trained policies, measured: on the cache, and plugged back into the recognizer."""
