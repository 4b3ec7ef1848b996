"""The policies π and π′ as plain networks."""
