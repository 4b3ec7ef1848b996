"""Which videos are played, in which order, and what each decision gave."""
