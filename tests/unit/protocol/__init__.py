"""What a host is told and what it answers."""
