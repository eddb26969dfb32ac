"""hivekeys rotates, revokes and verifies the API token of a llama-orch fleet over SSH, and proves it on each host."""

__version__ = "0.1.0"
