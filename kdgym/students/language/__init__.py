"""Language models as students, an adapter each."""
