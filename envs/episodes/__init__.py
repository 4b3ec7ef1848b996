"""Which videos and options are played, in which order, and where running episodes stand."""
