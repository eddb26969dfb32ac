"""`fab fix`, `fab install` and what they share."""
