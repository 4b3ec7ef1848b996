"""The classifiers f_C: from the features of the frames so far to a prediction."""
