"""A fleet's token in a sealed file: made, kept, opened."""
