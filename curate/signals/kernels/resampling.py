"""Pillow's reduction of bands of 8 bits to a few sizes, in its own whole-number arithmetic.

A weight × 2²² has 23 bits and a sign; processors multiply and add fastest in smaller numbers. So each weight is kept
in parts, whose sums are put together at the end: not one bit is lost. Where the processor multiplies bytes (VNNI) the
parts are three signed bytes, elsewhere two numbers of 16 bits.

What is multiplied lies in **quads**: words of four neighbouring bytes along the filtered axis. Quads of 16 places along
the other axis stand in a row, so that 16 outputs are summed at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic
from numpy.typing import NDArray

from curate.signals.kernels import compiled

Grey = NDArray[np.uint8]
Words = NDArray[np.uint32]
Places = NDArray[np.int64]
Weights = NDArray[np.int32]
QUAD = 4  # bytes of a word
LANES = 16  # outputs that are summed together
_HALF = 8  # of them: one vector

_FEATURES = set(cpu_target.target_context.codegen().magic_tuple()[2].split(","))
BYTES = "+avxvnni" in _FEATURES or {"+avx512vnni", "+avx512vl"} <= _FEATURES
PARTS = 3 if BYTES else 4  # words of weights for one quad: of 16 bits, those of two bytes each

_i8, _i16, _i32 = (ir.IntType(bits) for bits in (8, 16, 32))
_WORDS, _PAIRS, _ROW = ir.VectorType(_i32, _HALF), ir.VectorType(_i16, 2 * _HALF), ir.VectorType(_i32, LANES)


def _constant(kind: Any, value: int) -> Any:
    return ir.Constant(kind, [value] * kind.count)


def _chosen(builder: Any, one: Any, other: Any, places: list[int]) -> Any:
    return builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(_i32, len(places)), places))


def _add_bytes(builder: Any, quads: Any, weights: list[Any], sums: list[Any]) -> list[Any]:
    kind = ir.FunctionType(_WORDS, [_WORDS] * 3)
    multiply = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512.vpdpbusd.256")
    return [builder.call(multiply, [each, quads, weight]) for each, weight in zip(sums, weights, strict=True)]


def _add_shorts(builder: Any, quads: Any, weights: list[Any], sums: list[Any]) -> list[Any]:
    """The compiler knows the instruction for sums of two products in this form; it is portable."""
    wide = ir.VectorType(_i32, 2 * _HALF)
    values = builder.bitcast(quads, _PAIRS)
    parts = builder.and_(values, _constant(_PAIRS, 255)), builder.lshr(values, _constant(_PAIRS, 8))
    for number, weight in enumerate(weights):
        factors = (parts[number % 2], builder.bitcast(weight, _PAIRS))
        product = builder.mul(*(builder.sext(factor, wide) for factor in factors))
        pairs = builder.add(*(_chosen(builder, product, product, list(range(at, 2 * _HALF, 2))) for at in (0, 1)))
        sums[number // 2] = builder.add(sums[number // 2], pairs)
    return sums


@intrinsic
def _dots(
    _: Any, quads: Any, at: Any, at2: Any, stride: Any, weights: Any, of: Any, of2: Any, steps: Any, out: Any,
    place: Any, place2: Any,
) -> Any:  # fmt: skip
    """Store two times 16 weighted sums as levels: two, because a processor would wait for the sums of one.

    Those of the words from ``at`` on, and of those ``stride`` further on with each step; and the same from ``at2`` on.
    The weights of each step begin ``PARTS`` words after those of the one before.
    """

    def make(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        quads, weights, out = (
            context.make_array(signature.args[number])(context, builder, arguments[number]).data for number in (0, 4, 8)
        )
        stride, steps = arguments[3], arguments[7]
        begins, firsts, places = (arguments[number : number + 2] for number in (1, 5, 9))
        parts, halves = 3 if BYTES else 2, range(LANES // _HALF)

        def number(value: int) -> Any:
            return ir.Constant(steps.type, value)

        def vector_at(array: Any, place: Any, further: int, kind: Any) -> Any:
            return builder.bitcast(builder.gep(array, [builder.add(place, number(further))]), kind.as_pointer())

        totals = [
            [[cgutils.alloca_once_value(builder, _constant(_WORDS, 0)) for _ in range(parts)] for _ in halves]
            for _ in range(2)
        ]
        with cgutils.for_range_slice(builder, number(0), steps, number(1)) as (step, _):
            for which in range(2):
                first = builder.add(firsts[which], builder.mul(step, number(PARTS)))
                line = builder.add(begins[which], builder.mul(step, stride))
                spread = []
                for part in range(PARTS):
                    weight = builder.load(builder.gep(weights, [builder.add(first, number(part))]))
                    alone = builder.insert_element(ir.Constant(_WORDS, ir.Undefined), weight, ir.Constant(_i32, 0))
                    spread.append(_chosen(builder, alone, alone, [0] * _HALF))
                for half in halves:
                    values = builder.load(vector_at(quads, line, half * _HALF, _WORDS), align=4)
                    sums = [builder.load(total) for total in totals[which][half]]
                    made = (_add_bytes if BYTES else _add_shorts)(builder, values, spread, sums)
                    for total, sum_ in zip(totals[which][half], made, strict=True):
                        builder.store(sum_, total)
        for which in range(2):
            for half in halves:
                found = builder.load(totals[which][half][0])
                for total in totals[which][half][1:]:
                    found = builder.add(builder.shl(found, _constant(_WORDS, 8)), builder.load(total))
                found = builder.ashr(builder.add(found, _constant(_WORDS, 1 << 21)), _constant(_WORDS, 22))
                for order, limit in (("<", _constant(_WORDS, 0)), (">", _constant(_WORDS, 255))):
                    found = builder.select(builder.icmp_signed(order, found, limit), limit, found)
                levels = builder.trunc(found, ir.VectorType(_i8, _HALF))
                builder.store(levels, vector_at(out, places[which], half * _HALF, levels.type), align=1)
        return context.get_dummy_value()

    return types.void(quads, at, at2, stride, weights, of, of2, steps, out, place, place2), make


def _turning(order: list[int]) -> Callable[..., Any]:
    """A function that turns rows of 16 words into columns, after it has put each four words' bytes in an order."""

    @intrinsic
    def turn(_: Any, rows: Any, at: Any, stride: Any, out: Any, place: Any) -> Any:
        """The rows begin at ``at``, each ``stride`` items after the one before; the columns follow at ``place``."""

        def make(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            source, filled = (
                context.make_array(signature.args[at])(context, builder, arguments[at]).data for at in (0, 3)
            )
            at, stride, place = (arguments[number] for number in (1, 2, 4))
            lines = []
            for number in range(LANES):
                begin = builder.add(at, builder.mul(stride, ir.Constant(stride.type, number)))
                pointer = builder.bitcast(builder.gep(source, [begin]), _ROW.as_pointer())
                single = builder.bitcast(builder.load(pointer, align=1), ir.VectorType(_i8, QUAD * LANES))
                places = [16 * four + byte for four in range(QUAD) for byte in order]
                lines.append(builder.bitcast(_chosen(builder, single, single, places), _ROW))
            for step in (8, 4, 2, 1):
                for number in (each for each in range(LANES) if not each & step):
                    one, other, lanes = lines[number], lines[number + step], range(LANES)
                    upper = [LANES + lane - step if lane & step else lane for lane in lanes]
                    lower = [LANES + lane if lane & step else lane + step for lane in lanes]
                    lines[number] = _chosen(builder, one, other, upper)
                    lines[number + step] = _chosen(builder, one, other, lower)
            for number, line in enumerate(lines):
                begin = builder.add(place, ir.Constant(place.type, LANES * number))
                builder.store(line, builder.bitcast(builder.gep(filled, [begin]), _ROW.as_pointer()), align=4)
            return context.get_dummy_value()

        return types.void(rows, at, stride, out, place), make

    return turn


_turn = _turning(list(range(16)))
_turn_colours = _turning([QUAD * pixel + band for band in range(QUAD) for pixel in range(QUAD)])


@compiled
def across(levels: Grey, first: Places, weights: Weights, out: Grey) -> None:
    """Each row's weighted sums, rounded, as a column.

    Args:
        levels: (height, width), of at least 16 rows.
        first: of each output, its first quad.
        weights: (outputs, steps × ``PARTS``) words as ``reduction.packed`` makes them.
        out: (outputs, height, made a multiple of 16).
    """
    (height, width), steps, block = levels.shape, weights.shape[1] // PARTS, QUAD * LANES
    quads = np.empty((width + block - 1) // block * LANES * LANES + steps * LANES, np.uint32)
    flat, parts, filled = levels.reshape(-1), weights.reshape(-1), out.reshape(-1)
    whole, rest, of = width // block * block, np.zeros((LANES, block), np.uint8), steps * PARTS
    for line in range(0, height, LANES):
        top = min(line, height - LANES)  # the last rows may come twice
        for at in range(0, whole, block):
            _turn(flat, top * width + at, width, quads, LANES * at // QUAD)
        for number in range(LANES):
            for x in range(whole, width):
                rest[number, x - whole] = levels[top + number, x]
        if whole < width:
            _turn(rest.reshape(-1), 0, block, quads, LANES * whole // QUAD)
        for one in range(0, len(first), 2):
            two = min(one + 1, len(first) - 1)
            _dots(  # type: ignore[call-arg]
                quads, LANES * first[one], LANES * first[two], LANES, parts, one * of, two * of, steps, filled,
                one * out.shape[1] + top, two * out.shape[1] + top,
            )  # fmt: skip


@compiled
def across_colours(words: Words, first: Places, weights: Weights, out: Grey) -> None:
    """The same of red, green and blue.

    Args:
        words: (height, width) pixels as ``base.words_of`` gives them, of at least 16 rows.
        out: (3, outputs, height, made a multiple of 16).
    """
    (height, width), steps = words.shape, weights.shape[1] // PARTS
    quads = np.empty((width + LANES - 1) // LANES * LANES * LANES + steps * QUAD * LANES, np.uint32)
    flat, parts, filled = words.reshape(-1), weights.reshape(-1), out.reshape(-1)
    whole, rest, of = width // LANES * LANES, np.zeros((LANES, LANES), np.uint32), steps * PARTS
    for line in range(0, height, LANES):
        top = min(line, height - LANES)  # the last rows may come twice
        for at in range(0, whole, LANES):
            _turn_colours(flat, top * width + at, width, quads, LANES * at)
        for number in range(LANES):
            for x in range(whole, width):
                rest[number, x - whole] = words[top + number, x]
        if whole < width:
            _turn_colours(rest.reshape(-1), 0, LANES, quads, LANES * whole)
        for one in range(0, len(first), 2):
            two = min(one + 1, len(first) - 1)
            for band in range(3):
                begin, place = LANES * band, band * len(first) * out.shape[2] + top
                _dots(  # type: ignore[call-arg]
                    quads, begin + QUAD * LANES * first[one], begin + QUAD * LANES * first[two], QUAD * LANES, parts,
                    one * of, two * of, steps, filled, place + one * out.shape[2], place + two * out.shape[2],
                )  # fmt: skip


@compiled
def down(levels: Grey, first: Places, weights: Weights, out: Grey) -> None:
    """Each column's weighted sums, rounded.

    Args:
        levels: (height, width).
        first, weights: as of ``across``.
        out: (outputs, width, made a multiple of 16).
    """
    (height, width), steps = levels.shape, weights.shape[1] // PARTS
    stride, parts, filled = out.shape[1], weights.reshape(-1), out.reshape(-1)
    whole = (height + QUAD - 1) // QUAD
    quads = np.empty((whole + steps, stride), np.uint32)
    quads[whole:] = 0
    flat, last = quads.reshape(-1), height - 1
    for line in range(whole):
        made, top = quads[line], QUAD * line
        one, two = levels[top], levels[min(top + 1, last)]  # what is seen beyond the last row has no weight
        three, four = levels[min(top + 2, last)], levels[min(top + 3, last)]
        for x in range(width):
            upper = one[x] | (np.uint32(two[x]) << np.uint32(8))
            made[x] = upper | (np.uint32(three[x]) << np.uint32(16)) | (np.uint32(four[x]) << np.uint32(24))
    for output in range(len(first)):
        at, of, place = first[output] * stride, output * steps * PARTS, output * stride
        for x in range(0, stride, 2 * LANES):
            x2 = min(x + LANES, stride - LANES)
            _dots(flat, at + x, at + x2, stride, parts, of, of, steps, filled, place + x, place + x2)  # type: ignore[call-arg]
