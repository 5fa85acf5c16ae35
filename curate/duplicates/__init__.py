"""Near-identical images, the rows that repeat each other about them, leaked evaluation images, and splits.

``hamming`` finds pairs of near hashes, ``fingerprints`` says when two images are the same, ``matching`` searches all
of them, ``clusters`` groups what was found; ``stored`` keeps fingerprints and pairs between runs. ``rows``,
``contamination`` and ``splits`` write the tables of a curation. Edited copies have a search of their own: ``looks``
keeps grey views and their ``keypoints``, ``edits`` proposes and confirms by ``alignment``, ``edit_kinds`` names them;
``python -m benchmarks copies`` measures it. ``python -m benchmarks duplicates`` compares the
speed with FAISS and imagededup, ``python -m benchmarks.curves_duplicates`` shows recall and precision behind the
default thresholds.
"""
