"""What f_L can be run on in a frame: patches of a grid, boxes anywhere, the whole frame."""
