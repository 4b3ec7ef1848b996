"""What makes one environment id differ from another: timeline, actions, price and observation."""
