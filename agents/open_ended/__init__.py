"""Teachers of DataGen, Open-Ended: they write or order items."""
