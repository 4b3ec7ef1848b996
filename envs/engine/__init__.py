"""The arithmetic of many episodes at once, over a cache and a frozen classifier."""
