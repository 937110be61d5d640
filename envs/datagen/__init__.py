"""DataGen: the teacher makes or buys training data."""
