"""Bundles and checkpoints: files that are read as data, never as code."""
