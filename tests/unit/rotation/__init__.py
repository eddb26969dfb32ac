"""Rotations and revocations of an in-process fleet."""
