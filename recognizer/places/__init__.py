"""What f_L can be run on in a frame."""
