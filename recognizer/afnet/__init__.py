"""AFNet: a cheap branch for every frame, a full one for the frames that a gate keeps."""
