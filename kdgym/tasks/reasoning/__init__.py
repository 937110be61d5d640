"""Tasks of reasoning-gym, spelled for tiny students."""
