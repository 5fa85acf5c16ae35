"""Pillow's reduction of bands of 8 bits to a few sizes, in its own whole-number arithmetic.

A weight × 2²² has 23 bits and a sign; processors multiply and add fastest in pairs of 16 bits. So each weight is kept
as two numbers, ``high`` × 2⁸ + ``low``, whose sums are put together at the end: not one bit is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from curate.signals.kernels import compiled

Grey = NDArray[np.uint8]
Places = NDArray[np.int64]
Weights = NDArray[np.int16]
FOUR = 4  # sums that are made together
TAPS, FEW_TAPS = 16, 8  # of which the number of weights of an output is a multiple: in ``across``, in ``resized``


def _sums_with(lanes: int) -> Callable[..., Any]:
    """A function that makes four weighted sums of 16-bit values, ``lanes`` at a time, and stores them as levels.

    It is written in the compiler's own language, because the compiler finds the instruction for pairs of products only
    in this form; it is portable.
    """
    half = lanes // 2
    i32 = ir.IntType(32)
    short, wide, sums = (ir.VectorType(*of) for of in ((ir.IntType(16), lanes), (i32, lanes), (i32, half)))
    totals, levels = ir.VectorType(i32, FOUR), ir.VectorType(ir.IntType(8), FOUR)

    def constant(kind: Any, value: int) -> Any:
        return ir.Constant(kind, [value] * kind.count)

    def pairs(builder: Any, one: Any, other: Any) -> Any:
        """Sums of each two neighbours in the two vectors, put in a row."""
        length = one.type.count * (1 if one is other else 2)
        chosen = (ir.Constant(ir.VectorType(i32, length // 2), list(range(first, length, 2))) for first in (0, 1))
        return builder.add(*(builder.shuffle_vector(one, other, places) for places in chosen))

    def make(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        values, weights, out = (
            context.make_array(signature.args[at])(context, builder, arguments[at]).data for at in (0, 5, 11)
        )
        starts, firsts, taps, place = arguments[1:5], arguments[6:10], arguments[10], arguments[12]
        total = [cgutils.alloca_once_value(builder, constant(sums, 0)) for _ in range(2 * FOUR)]

        def loaded(array: Any, at: Any) -> Any:
            pointer = builder.bitcast(builder.gep(array, [at]), short.as_pointer())
            return builder.sext(builder.load(pointer, align=2), wide)

        whole = ir.Constant(taps.type, 0), taps, ir.Constant(taps.type, lanes)
        with cgutils.for_range_slice(builder, *whole) as (tap, _):
            for number in range(FOUR):
                value = loaded(values, builder.add(starts[number], tap))
                high = builder.add(firsts[number], tap)
                for part, at in enumerate((high, builder.add(high, taps))):
                    product = builder.mul(value, loaded(weights, at))
                    sum_ = total[2 * number + part]
                    builder.store(builder.add(builder.load(sum_), pairs(builder, product, product)), sum_)
        eight, bits = constant(sums, 8), constant(totals, 22)
        found = [
            builder.add(builder.shl(builder.load(total[2 * number]), eight), builder.load(total[2 * number + 1]))
            for number in range(FOUR)
        ]
        found = [pairs(builder, found[0], found[1]), pairs(builder, found[2], found[3])]
        made = pairs(builder, *found)
        while made.type.count > FOUR:
            made = pairs(builder, made, made)
        made = builder.ashr(builder.add(made, constant(totals, 1 << 21)), bits)
        for order, limit in (("<", constant(totals, 0)), (">", constant(totals, 255))):
            made = builder.select(builder.icmp_signed(order, made, limit), limit, made)
        builder.store(
            builder.trunc(made, levels), builder.bitcast(builder.gep(out, [place]), levels.as_pointer()), align=1
        )
        return context.get_dummy_value()

    @intrinsic
    def sums_of(
        _: Any, values: Any, a: Any, b: Any, c: Any, d: Any, weights: Any, e: Any, f: Any, g: Any, h: Any, taps: Any,
        out: Any, place: Any,
    ) -> Any:  # fmt: skip
        return types.void(values, a, b, c, d, weights, e, f, g, h, taps, out, place), make

    return sums_of


_sums, _few_sums = _sums_with(TAPS), _sums_with(FEW_TAPS)


@compiled
def across(levels: Grey, left: Places, weights: Weights, out: Grey) -> None:
    """Each row's weighted sums, rounded, as a column.

    Args:
        levels: (height, width).
        left: of each output, its first pixel.
        weights: (outputs, 2, taps), high and low parts; those of taps beyond the last pixel are zero.
        out: (outputs, height, made a multiple of four).
    """
    (height, width), taps = levels.shape, weights.shape[2]
    length, flat, filled = width + taps, weights.reshape(-1), out.reshape(-1)
    rows = np.zeros((FOUR, length), np.int16)
    values = rows.reshape(-1)
    for top in range(0, height, FOUR):
        for number in range(FOUR):
            row, seen = rows[number], levels[min(top + number, height - 1)]
            for x in range(width):
                row[x] = seen[x]
        for output in range(len(left)):
            at, of = left[output], 2 * taps * output
            _sums(
                values, at, at + length, at + 2 * length, at + 3 * length, flat, of, of, of, of, taps, filled,
                output * out.shape[1] + top,
            )  # fmt: skip


@compiled
def across_colours(words: NDArray[np.uint32], left: Places, weights: Weights, out: Grey) -> None:
    """The same of red, green and blue.

    Args:
        words: (height, width) pixels as ``base.words_of`` gives them.
        out: (3, outputs, height, made a multiple of four).
    """
    (height, width), taps = words.shape, weights.shape[2]
    length, flat, filled = width + taps, weights.reshape(-1), out.reshape(-1)
    rows, byte = np.zeros((3 * FOUR, length), np.int16), np.uint32(255)
    values = rows.reshape(-1)
    for top in range(0, height, FOUR):
        for number in range(FOUR):
            red, green, blue = rows[number], rows[FOUR + number], rows[2 * FOUR + number]
            seen = words[min(top + number, height - 1)]
            for x in range(width):
                word = seen[x]
                red[x], green[x], blue[x] = word & byte, (word >> np.uint32(8)) & byte, (word >> np.uint32(16)) & byte
        for output in range(len(left)):
            of = 2 * taps * output
            for band in range(3):
                at = left[output] + band * FOUR * length
                _sums(
                    values, at, at + length, at + 2 * length, at + 3 * length, flat, of, of, of, of, taps, filled,
                    (band * len(left) + output) * out.shape[2] + top,
                )  # fmt: skip


@compiled
def resized(levels: Grey, top: Places, down: NDArray[np.int32], left: Places, weights: Weights, out: Grey) -> None:
    """``Image.resize`` of an 8-bit band, columns filtered first, to a size at which a few pixels make one.

    Args:
        top, down: of each line its first row, and (lines, taps) its weights × 2²², whose taps stay inside the image.
        left, weights: as of ``across``, of outputs that are made a multiple of four.
        out: (lines, outputs).
    """
    width, (lines, columns), taps = levels.shape[1], out.shape, weights.shape[2]
    sums, row = np.empty(width, np.int32), np.zeros(width + taps, np.int16)
    flat, filled, half = weights.reshape(-1), out.reshape(-1), np.int32(1 << 21)
    even = down.shape[1] // 2 * 2
    for line in range(lines):
        sums[:] = half
        for tap in range(0, even, 2):  # two at a time: sums are read and written half as often
            first, second = levels[top[line] + tap], levels[top[line] + tap + 1]
            weight, other = down[line, tap], down[line, tap + 1]
            for x in range(width):
                sums[x] += np.int32(first[x]) * weight + np.int32(second[x]) * other
        if even < down.shape[1]:
            first, weight = levels[top[line] + even], down[line, even]
            for x in range(width):
                sums[x] += np.int32(first[x]) * weight
        for x in range(width):
            row[x] = sums[x] >> 22
        for x in range(0, columns, FOUR):
            of, step = 2 * taps * x, 2 * taps
            _few_sums(
                row, left[x], left[x + 1], left[x + 2], left[x + 3], flat, of, of + step, of + 2 * step, of + 3 * step,
                taps, filled, line * columns + x,
            )  # fmt: skip
