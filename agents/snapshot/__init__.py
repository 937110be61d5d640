"""Teachers of the Snapshot family: where practice starts."""
