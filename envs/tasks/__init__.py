"""What makes one environment id differ from another: actions and prices."""
