"""Teachers of the DataGen family, Skill-List: shares of money for skills and sources."""
