"""What runs on the hosts: its text is sent over SSH; only tests import it."""
