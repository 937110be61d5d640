"""Real images, which come with the package."""

from kdgym.tasks.images.corpus import CLASSES, PIXELS, Corpus, CorpusError, digits, garments, garments_and_digits

__all__ = ["CLASSES", "PIXELS", "Corpus", "CorpusError", "digits", "garments", "garments_and_digits"]
