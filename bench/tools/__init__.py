"""The same job, written for each tool as its own users would write it."""
