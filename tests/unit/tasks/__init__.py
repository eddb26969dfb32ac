"""The verbs as an operator types them."""
