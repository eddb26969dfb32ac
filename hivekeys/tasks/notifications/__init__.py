"""Tells others of a run: a program, a webhook, people by mail. A notification that fails never fails a run."""
