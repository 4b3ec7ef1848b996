"""The trainings that verbs start: policies, supervised stages, the quickstart's steps."""
