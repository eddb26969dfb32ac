"""How a verb does its work; imported when one begins, so these modules import what they need at their top."""
