"""When two images are the same one, and groups of them.

``fingerprints`` compares two, ``matching`` searches all of them, ``clusters`` groups what was found; ``stored`` keeps
fingerprints and pairs between runs.
"""
