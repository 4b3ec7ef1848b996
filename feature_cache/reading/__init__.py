"""Reading a cache: its files, its tables of videos, and where the videos are now."""
