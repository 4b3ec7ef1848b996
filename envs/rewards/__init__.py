"""Reward designs: from confidences and costs to a number."""
