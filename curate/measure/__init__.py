"""From image files and conversations to stored signals.

``images`` is the loop over a set's images and ``texts`` the one over its rows; ``scores`` reads prompt sets and
heads off stored embeddings. ``row`` is what a worker process does with one file, ``models`` what CLIP and the NSFW
scorer add to it, ``pool``, ``ray`` and ``engines`` where workers run. ``store`` is the folder of Parquet parts,
``index`` what earlier runs left there; ``remeasure`` brings old parts up to date; ``embeddings`` looks vectors up.
"""
