"""What happened: the events of every run, how they are stored, and the run that they make."""
