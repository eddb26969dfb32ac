"""Host keys: which are known, whether a presented one is, and how new ones are collected."""
