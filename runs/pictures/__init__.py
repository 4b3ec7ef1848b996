"""Films and pictures of where a recognizer looked."""
