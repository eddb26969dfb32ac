"""How names, times and tables are written, and what text from elsewhere may be shown."""
