"""The way to a host."""
