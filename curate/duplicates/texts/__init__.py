"""Texts that are nearly the same: ``shingles`` compares them, ``similar_texts`` and ``text_leaks`` write the tables."""
