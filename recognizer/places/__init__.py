"""What f_L can be run on in a frame: patches of a grid, and the whole frame at a side."""
