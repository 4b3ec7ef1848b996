"""What is counted: multiply-adds of the real modules, and accuracies."""
