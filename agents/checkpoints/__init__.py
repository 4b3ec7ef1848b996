"""Trainings that go on after an interruption, to the bit."""
