"""Backups of a fleet's token in encrypted, signed files."""
