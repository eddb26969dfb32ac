"""Host keys: which are known, whether the one that a host presents is, and how new ones are come by."""
