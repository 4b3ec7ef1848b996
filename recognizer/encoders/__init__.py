"""The encoders f_G and f_L: their trunks, their weights, and the frames that they take."""
