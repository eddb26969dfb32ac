"""What happened, as the journal keeps it."""
