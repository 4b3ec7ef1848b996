"""From the words of a command line and of presets to checked settings; what is printed, and how."""
