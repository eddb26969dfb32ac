"""How names, durations and tables are written, and how foreign text is made safe to show."""
