"""Backups of the token."""
