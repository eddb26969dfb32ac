"""What verbs share: options, and what they mean."""
