"""Near-identical images, the rows that repeat each other about them, leaked evaluation images, and splits.

``hamming`` finds pairs of near hashes, ``fingerprints`` says when two images are the same, ``matching`` searches all
of them, ``clusters`` groups what was found; ``stored`` keeps fingerprints and pairs between runs. ``rows``,
``contamination`` and ``splits`` write the tables of a curation. ``python -m benchmarks duplicates`` compares the
speed with FAISS and imagededup, ``python -m benchmarks.curves_duplicates`` shows recall and precision behind the
default thresholds.
"""
