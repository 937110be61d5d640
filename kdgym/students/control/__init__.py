"""Actor-critics that learn control, many at once."""
