"""Building a cache: planning, encoding, writing, merging and verifying it."""
