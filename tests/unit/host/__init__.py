"""What runs on a host, in its temporary directory."""
