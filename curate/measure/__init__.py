"""From image files and conversations to stored signals.

``images`` is the loop over a set's images and ``texts`` the one over its rows. ``row`` is what a worker process does
with one file, ``models`` what CLIP and the NSFW scorer add to it, ``pool`` where the workers run. ``store`` is the
folder of Parquet parts and what earlier runs left there; ``embeddings`` looks vectors up, and reads prompt sets and
heads off them.
"""
