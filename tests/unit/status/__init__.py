"""What a fleet is like now."""
