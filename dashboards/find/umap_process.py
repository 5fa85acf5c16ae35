"""UMAP of a file of vectors: ``python -m dashboards.find.umap_process VECTORS.npy XY.npy SEED``."""

import os
import sys

import numpy as np


def main(given: str, found: str, seed: int) -> None:
    """Write (n, 2) coordinates for (n, width) vectors; equal for equal input and seed."""
    from umap import UMAP

    vectors = np.load(given)
    # One thread: with several, the order of updates differs from run to run.
    made = UMAP(n_neighbors=15, min_dist=0.1, random_state=seed, n_jobs=1).fit_transform(vectors)
    np.save(found, made.astype(np.float32))


if __name__ == "__main__":
    os.nice(10)  # the server's pages come first
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
