"""Edited copies: toned, brighter, mirrored, cropped, framed, overlaid or turned.

``looks`` keeps grey views and their keypoints, ``word_index`` finds keypoints of one key, ``search`` proposes pairs and
confirms them by ``alignment``, ``edit_kinds`` names them, ``stored_edits`` keeps them between runs; ``links`` says
which rows they tie.
"""
