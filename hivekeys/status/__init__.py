"""How the fleet is now."""
