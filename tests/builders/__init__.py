"""What several tests are made of: an operator, a fleet on paper, hosts as they are seen, runs as they are recorded."""
