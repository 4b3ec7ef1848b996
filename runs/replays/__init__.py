"""What policies do in single videos and on average, frame by frame."""
