"""Near-identical images: pairs within a Hamming radius, stars of confirmed copies, rows that repeat each other.

``pairs_within`` and ``pairs_between`` work on any 64-bit hashes; the rest on the stored signals of a
curation. ``python -m benchmarks duplicates`` compares their speed with FAISS and imagededup,
``python -m benchmarks.curves_duplicates`` shows recall and precision behind the default thresholds.
"""

from curate.duplicates.hamming import pairs_between, pairs_within
from curate.duplicates.rows import DUPLICATE_IMAGES, DUPLICATE_ROWS, find_duplicates

__all__ = ["DUPLICATE_IMAGES", "DUPLICATE_ROWS", "find_duplicates", "pairs_between", "pairs_within"]
