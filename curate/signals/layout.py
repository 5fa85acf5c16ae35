"""How a picture is put together: its frame, the seams of a collage, and how much of it is drawn rather than seen.

All three are read off a grey copy that is reduced by a whole factor to at most 384 pixels; for seams and drawn areas
every second line of it is enough. The formulas are ours; the thresholds were chosen on the train photographs of BSDS500
and tried on its test photographs (``studies.layout``).

**Frame**: rows and columns at the edges whose levels all lie within 8 of their median, and whose medians lie within 8
of the outermost one. Only what is on opposite sides counts, so that a clear sky is no frame. A frame of blurred
picture is not seen.

**Seam**: a step across a straight line that goes through the whole picture inside the frame, as between the pictures of
a collage. Of the pixels along a line, the share at which the step over two pixels exceeds the steps on both sides by
more than 8 levels; the highest of all lines that are a tenth of the picture and more away from its edges. A thin
ruled line is none, since it steps back.

**Drawn**: the share of pixels that differ by at most one level from the next one to the right and below. Renderings of
text, plots, windows and flat shapes have areas of one colour, photographs have noise.

Watermarks are left out: none was measured.
"""

from __future__ import annotations

import numpy as np

from curate.signals.base import Grey, Pixels, Signal
from curate.signals.reduction import reduced_by

_SIDE = 384
_TOLERANCE = 8  # grey levels
_MARGIN = 0.1  # of a side, in which no seam is looked for
_LEAST = 16  # pixels of a side, below which nothing is told


def layout(pixels: Pixels) -> dict[str, float | None]:
    """Frame, seam and drawn; seam and drawn are null in a picture of few pixels."""
    from curate.signals.kernels.lines import frame

    levels = reduced_by(pixels.levels, -(-max(pixels.levels.shape) // _SIDE))
    (height, width), lines = levels.shape, np.empty(4, np.int64)
    frame(levels, _TOLERANCE, lines)
    top, bottom, left, right = lines.tolist()
    inside = np.ascontiguousarray(levels[top : height - bottom, left : width - right])
    return {
        "frame": 1 - inside.size / levels.size,
        "seam": _seam(inside) if min(inside.shape) >= _LEAST else None,
        "drawn": _drawn(levels) if min(levels.shape) >= _LEAST else None,
    }


def _seam(levels: Grey) -> float:
    """The highest share of every second row in which a column has a step of its own, or of columns in which a row."""
    from curate.signals.kernels.lines import seams

    height, width = levels.shape
    of_columns, of_rows = np.empty(width - 6, np.int64), np.empty(height - 6, np.int64)
    seams(levels, _TOLERANCE, of_columns, of_rows)
    found = 0.0
    for counts, across, length in ((of_columns, height, width), (of_rows, width, height)):
        edge = max(round(_MARGIN * length) - 3, 0)
        found = max(found, int(counts[edge : len(counts) - edge].max(initial=0)) / -(-across // 2))
    return found


def _drawn(levels: Grey) -> float:
    from curate.signals.kernels.lines import drawn

    return float(drawn(levels) / (len(levels) // 2 * (levels.shape[1] - 1)))


SIGNALS = (
    Signal(
        "layout",
        1,
        {
            "frame": "0–1: share of the picture in a flat frame or in bars on two opposite sides",
            "seam": "0–1, null in tiny pictures: share of the pixels along a straight line through the whole picture"
            " that step there; collages are above 0.6",
            "drawn": "0–1, null in tiny pictures: share of pixels like their neighbours; screenshots, pages, plots and"
            " drawings are above 0.5",
        },
        layout,
        validated={
            "seam": "above 0.6 on 7 of BSDS500's 200 test photographs (95% interval 1.7–7.0%), 12 of 200 scanned"
            " receipts, 86% of made collages of two photographs, 97% of four, all of nine; windows, pages, forms too",
            "drawn": "above 0.5 on 4 of BSDS500's 200 test photographs (95% interval 0.8–5.0%), 15% of them in a flat"
            " frame, all made screenshots, plots, pages, forms and drawings, 71% of 200 scanned receipts",
        },
    ),
)
