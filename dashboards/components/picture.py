"""The image of a row as Streamlit draws it."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st
from PIL import Image

from dashboards.data.catalog import Folder
from dashboards.images import thumb_path


def picture(
    folder: Folder, sample_id: str, image_keys: Sequence[str | None], question: str, size: str = "tile", number: int = 0
) -> None:
    """One image of a row, or the placeholder that says why there is none.

    Args:
        question: what is asked about it: read out in place of the image, else its id is.
        size: ``tile`` or ``full``.
        number: which of the row's images.
    """
    st.image(thumb_path(folder, sample_id, image_keys, size, number), width="stretch", alt=question or sample_id)


def decoded_picture(image: Image.Image, alt: str) -> None:
    """An image that is no row's, as the guard refused it; at most 800 pixels a side."""
    small = image.copy()
    small.thumbnail((800, 800))
    st.image(small, alt=alt)
