"""From image files and conversations to stored signals.

``images`` is the loop over a set's images, ``texts`` the one over its rows. ``row`` is what a worker does with
one file, ``models`` what CLIP and the NSFW scorer add to it, ``store`` the folder of Parquet parts, ``known`` what
earlier runs left there, ``again`` brings old parts up to date, ``embeddings`` looks vectors up on disk.
"""
