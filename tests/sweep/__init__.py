"""Rotations killed, cut, faulted and raced, in this process: what must be true afterwards, whatever happened."""
