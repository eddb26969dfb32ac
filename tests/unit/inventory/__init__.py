"""A fleet's inventory, in each form that it may have."""
