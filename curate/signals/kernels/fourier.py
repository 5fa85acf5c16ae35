"""The power of the two-dimensional Fourier transform of tiles of 32 × 32, of eight tiles at a time.

The transforms are those of pocketfft (Reinecke), which SciPy has: real ones of the rows with factors 4, 4 and 2, then
complex ones of the columns with factors 8 and 4, in the same order of additions, so that every bit is the same. They
are written for anything that adds and multiplies, and put together for vectors of eight tiles in the compiler's own
language.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from curate.signals.kernels import compiled

Floats = NDArray[np.float32]
SIDE = 32
WAVES = SIDE // 2 + 1  # across; those of the other half are mirrored
TOGETHER = 8  # tiles
_FLOATS = ir.VectorType(ir.FloatType(), TOGETHER)
_HALF = float(np.float32(math.sqrt(0.5)))  # cosine of an eighth of a turn


@dataclass(frozen=True)
class _Vector:
    """Floats of eight tiles, of which sums and products become instructions."""

    builder: Any
    floats: Any

    def __add__(self, other: _Vector) -> _Vector:
        return _Vector(self.builder, self.builder.fadd(self.floats, other.floats))

    def __sub__(self, other: _Vector) -> _Vector:
        return _Vector(self.builder, self.builder.fsub(self.floats, other.floats))

    def __mul__(self, factor: float) -> _Vector:
        return _Vector(self.builder, self.builder.fmul(self.floats, ir.Constant(_FLOATS, [factor] * TOGETHER)))

    def squared(self) -> _Vector:
        return _Vector(self.builder, self.builder.fmul(self.floats, self.floats))


@dataclass(frozen=True)
class _Complex:
    real: Any
    imaginary: Any

    def __add__(self, other: _Complex) -> _Complex:
        return _Complex(self.real + other.real, self.imaginary + other.imaginary)

    def __sub__(self, other: _Complex) -> _Complex:
        return _Complex(self.real - other.real, self.imaginary - other.imaginary)

    def turned(self, step: int) -> _Complex:
        """Times e^(−2πi step / 32)."""
        cosine, sine = _turn(step)
        return _Complex(self.real * cosine + self.imaginary * sine, self.imaginary * cosine - self.real * sine)

    def quarter(self) -> _Complex:
        return _Complex(self.imaginary, self.real * -1.0)

    def eighth(self) -> _Complex:
        return _Complex((self.real + self.imaginary) * _HALF, (self.imaginary - self.real) * _HALF)

    def three_eighths(self) -> _Complex:
        return _Complex((self.imaginary - self.real) * _HALF, (self.real * -1.0 - self.imaginary) * _HALF)


@functools.cache
def _turn(step: int) -> tuple[float, float]:
    angle = 2 * math.pi * step / SIDE
    return float(np.float32(math.cos(angle))), float(np.float32(math.sin(angle)))


def _both(one: Any, other: Any) -> tuple[Any, Any]:
    return one + other, one - other


def real_transform(values: list[Any]) -> list[_Complex]:
    """The 17 waves of 32 real values; the imaginary parts of the first and the last are None, which are zero."""
    found = _by_two(_by_four(_by_four(values, 1), 4), 16)
    inner = [_Complex(found[2 * wave - 1], found[2 * wave]) for wave in range(1, WAVES - 1)]
    return [_Complex(found[0], None), *inner, _Complex(found[-1], None)]


def _by_four(values: list[Any], length: int) -> list[Any]:
    """pocketfft's ``radf4``: four transforms of ``length`` made one."""
    count, made = len(values) // length // 4, [None] * len(values)
    for block in range(count):
        of = [values[length * (block + count * part) : length * (block + count * part + 1)] for part in range(4)]
        to = 4 * length * block
        sum_, made[to + 2 * length] = _both(of[3][0], of[1][0])
        other, made[to + 2 * length - 1] = _both(of[0][0], of[2][0])
        made[to], made[to + 4 * length - 1] = _both(other, sum_)
        for at in range(2, length, 2):
            pairs = [_Complex(part[at - 1], part[at]) for part in of]
            two, three, four = (pairs[part].turned(part * at // 2 * (SIDE // 4 // length)) for part in (1, 2, 3))
            one_sum, one_rest = _both(four.real, two.real)
            two_sum, two_rest = _both(two.imaginary, four.imaginary)
            three_sum, three_rest = _both(pairs[0].real, three.real)
            four_sum, four_rest = _both(pairs[0].imaginary, three.imaginary)
            back = length - at
            made[to + at - 1], made[to + 3 * length + back - 1] = _both(three_sum, one_sum)
            made[to + at], made[to + 3 * length + back] = _both(two_sum, four_sum)
            made[to + 2 * length + at - 1], made[to + length + back - 1] = _both(three_rest, two_rest)
            made[to + 2 * length + at], made[to + length + back] = _both(one_rest, four_rest)
        if length % 2 == 0:
            last = length - 1
            imaginary = (of[1][last] + of[3][last]) * -_HALF
            real = (of[1][last] - of[3][last]) * _HALF
            made[to + last], made[to + 2 * length + last] = _both(of[0][last], real)
            made[to + 3 * length], made[to + length] = _both(imaginary, of[2][last])
    return made


def _by_two(values: list[Any], length: int) -> list[Any]:
    """pocketfft's ``radf2``: two transforms of ``length`` made one."""
    made, one, other = [None] * (2 * length), values[:length], values[length:]
    made[0], made[2 * length - 1] = _both(one[0], other[0])
    for at in range(2, length, 2):
        turned, back = _Complex(other[at - 1], other[at]).turned(at // 2), length - at
        made[at - 1], made[length + back - 1] = _both(one[at - 1], turned.real)
        made[at], made[length + back] = _both(turned.imaginary, one[at])
    made[length - 1], made[length] = one[length - 1], other[length - 1] * -1.0
    return made


def complex_transform(values: list[_Complex]) -> list[_Complex]:
    """The waves of 32 complex values: pocketfft's ``pass8`` and ``pass4``."""
    eights: list[Any] = [None] * SIDE
    for at in range(4):
        part = values[at::4]
        one, five = _both(part[1], part[5])
        three, seven = _both(part[3], part[7])
        one, three = _both(one, three)
        five, seven = _both(five, seven.quarter())
        zero, four = _both(part[0], part[4])
        two, six = _both(part[2], part[6])
        zero, two = _both(zero, two)
        four, six = _both(four, six.quarter())
        pairs = (zero, one), (four, five.eighth()), (two, three.quarter()), (six, seven.three_eighths())
        for number, pair in enumerate(pairs):
            for wave, found in zip((number, number + 4), _both(*pair), strict=True):
                eights[4 * wave + at] = found.turned(wave * at) if wave and at else found
    made: list[Any] = [None] * SIDE
    for wave in range(8):
        zero, one, two, three = eights[4 * wave : 4 * wave + 4]
        even, even_rest = _both(zero, two)
        odd, odd_rest = _both(one, three)
        made[wave], made[wave + 16] = _both(even, odd)
        made[wave + 8], made[wave + 24] = _both(even_rest, odd_rest.quarter())
    return made


def _pointer(builder: Any, array: Any, at: Any, further: int) -> Any:
    place = builder.add(at, ir.Constant(at.type, further))
    return builder.bitcast(builder.gep(array, [place]), _FLOATS.as_pointer())


def _turned_round(builder: Any, rows: list[Any]) -> list[Any]:
    """The columns of eight vectors of eight."""
    for step in (4, 2, 1):
        for number in (each for each in range(TOGETHER) if not each & step):
            one, other, lanes = rows[number], rows[number + step], range(TOGETHER)
            upper = [TOGETHER + lane - step if lane & step else lane for lane in lanes]
            lower = [TOGETHER + lane if lane & step else lane + step for lane in lanes]
            kind = ir.VectorType(ir.IntType(32), TOGETHER)
            rows[number], rows[number + step] = (
                builder.shuffle_vector(one, other, ir.Constant(kind, places)) for places in (upper, lower)
            )
    return rows


@intrinsic
def _transform_line(_: Any, tiles: Any, at: Any, waves: Any, place: Any) -> Any:
    """The waves (17, real and imaginary, 8) of one line of eight tiles, which begins at ``at`` in the first."""

    def make(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, filled = (context.make_array(signature.args[n])(context, builder, arguments[n]).data for n in (0, 2))
        values: list[Any] = []
        for left in range(0, SIDE, TOGETHER):
            further = range(left, TOGETHER * SIDE * SIDE, SIDE * SIDE)
            rows = [builder.load(_pointer(builder, source, arguments[1], each), align=4) for each in further]
            values += [_Vector(builder, column) for column in _turned_round(builder, rows)]
        nothing = ir.Constant(_FLOATS, [0.0] * TOGETHER)
        parts = [part for wave in real_transform(values) for part in (wave.real, wave.imaginary)]
        for number, part in enumerate(parts):
            pointer = _pointer(builder, filled, arguments[3], TOGETHER * number)
            builder.store(nothing if part is None else part.floats, pointer, align=4)
        return context.get_dummy_value()

    return types.void(tiles, at, waves, place), make


@intrinsic
def _transform_column(_: Any, waves: Any, at: Any, powers: Any, place: Any) -> Any:
    """The power (32, 17, 8) of one wave across, of which the first line's waves are at ``at``."""

    def make(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, filled = (context.make_array(signature.args[n])(context, builder, arguments[n]).data for n in (0, 2))

        def loaded(further: int) -> _Vector:
            return _Vector(builder, builder.load(_pointer(builder, source, arguments[1], further), align=4))

        lines = [2 * TOGETHER * WAVES * line for line in range(SIDE)]
        made = complex_transform([_Complex(loaded(line), loaded(line + TOGETHER)) for line in lines])
        for number, wave in enumerate(made):
            power = wave.real.squared() + wave.imaginary.squared()
            builder.store(power.floats, _pointer(builder, filled, arguments[3], TOGETHER * WAVES * number), align=4)
        return context.get_dummy_value()

    return types.void(waves, at, powers, place), make


@compiled
def powers(tiles: Floats, out: Floats) -> None:
    """Of all waves of each tile.

    Args:
        tiles: (eight times groups, 32, 32).
        out: (groups, 32, 17, 8).
    """
    waves, source, filled = np.empty(SIDE * WAVES * 2 * TOGETHER, np.float32), tiles.reshape(-1), out.reshape(-1)
    for group in range(len(out)):
        for line in range(SIDE):
            at = SIDE * (SIDE * TOGETHER * group + line)
            _transform_line(source, at, waves, 2 * TOGETHER * WAVES * line)  # type: ignore[call-arg]
        for wave in range(WAVES):
            place = TOGETHER * (WAVES * SIDE * group + wave)
            _transform_column(waves, 2 * TOGETHER * wave, filled, place)  # type: ignore[call-arg]
