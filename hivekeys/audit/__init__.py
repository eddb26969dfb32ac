"""Who used which token, and who opened its file, by the records on the hosts."""
