"""hivekeys: turns a llama-orch fleet to a new API token, over SSH, and proves it host by host."""

__version__ = "0.1.0"
