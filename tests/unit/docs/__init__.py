"""What the documentation promises is so."""
