"""Turns a fleet to a new token, forward or back."""
