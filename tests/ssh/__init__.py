"""Lines over SSH, tried against real sshds on loopback."""
