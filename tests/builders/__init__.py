"""Helpers that several test modules share: operators, fleets, hosts, runs."""
