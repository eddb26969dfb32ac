"""What runs ON the hosts: read as text, sent over SSH, and never imported but by tests."""
