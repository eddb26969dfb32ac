"""What happened: the events of every run, kept, chained and counted."""
