"""What is said of a run afterwards."""
