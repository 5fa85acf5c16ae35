"""Raw image-text data in, a curated training set out."""

__version__ = "0.1.0"
