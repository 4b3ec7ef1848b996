"""Policies beside each other: what is trained, what is known of each, and how it is shown."""
