"""Near-identical images, the rows that repeat each other about them, leaked evaluation images and texts, and splits.

``images`` says when two images are the same and groups them, ``edits`` finds and names edited copies, ``texts``
compares words, ``semantic`` embeddings. ``rows``, ``kept``, ``contamination`` and ``splits`` write the tables of a
curation; ``hamming``, the search for near hashes, is under all of them.

``python -m benchmarks duplicates`` compares the speed with FAISS and imagededup, ``python -m studies.copies``
measures edited copies, ``python -m benchmarks.curves_duplicates`` shows recall and precision behind the default
thresholds.
"""
