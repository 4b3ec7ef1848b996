"""Published methods as recipes: an environment, a classifier, and what is trained in it."""
