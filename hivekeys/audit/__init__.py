"""Who used which token and who opened its file, by the hosts' own records."""
