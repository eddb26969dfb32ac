"""Who still uses the old token."""
