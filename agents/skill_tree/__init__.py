"""Teachers of DataGen, Skill-Tree: they explore and exploit."""
