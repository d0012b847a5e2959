"""A histogram of times with a fixed relative error, in the layout of HdrHistogram.

Values are whole microseconds from 0 to one hour, kept to three significant digits: buckets of doubling width
with 1024 steps each. Counts are kept sparse, because a second of a run touches a few hundred steps of the
24,000. Histograms of several processes add up without loss.

The text form is HdrHistogram's own "V2 compressed" log encoding (HdrHistogram ``AbstractHistogram.java``,
``encodeIntoCompressedByteBuffer``), so that its tools can read our results.
"""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from collections.abc import Iterable, Mapping
from typing import Final

US_MAX: Final = 3_600_000_000
"""An hour. What took longer counts as an hour."""

_SIGNIFICANT_DIGITS: Final = 3
_HALF_BITS: Final = 10
_HALF: Final = 1 << _HALF_BITS
_COOKIE: Final = 0x1C849313
_COOKIE_COMPRESSED: Final = 0x1C849314
_HEADER: Final = struct.Struct(">iiiiqqd")
_OUTER: Final = struct.Struct(">ii")


def step_of(value_us: int) -> int:
    """The step that counts a value. The inner loops of the generator have this written out."""
    if value_us < 2 * _HALF:
        return max(value_us, 0)
    value_us = min(value_us, US_MAX)
    bucket = value_us.bit_length() - _HALF_BITS - 1
    return (bucket << _HALF_BITS) + (value_us >> bucket)


def step_range(step: int) -> tuple[int, int]:
    """The lowest and the highest value that a step counts."""
    if step < 2 * _HALF:
        return step, step
    bucket = (step >> _HALF_BITS) - 1
    low = (step - (bucket << _HALF_BITS)) << bucket
    return low, low + (1 << bucket) - 1


class Histogram:
    """Counts by step; see the module."""

    __slots__ = ("count", "counts")

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self.counts: dict[int, int] = {}
        self.count = 0
        if counts:
            self.add_steps(counts.items())

    def record(self, value_us: float, times: int = 1) -> None:
        """Count a value."""
        self.add_steps(((step_of(int(value_us)), times),))

    def add_steps(self, steps: Iterable[tuple[int, int]]) -> None:
        """Add counts of steps."""
        counts = self.counts
        for step, count in steps:
            counts[step] = counts.get(step, 0) + count
            self.count += count

    def add(self, other: Histogram) -> None:
        """Add another's counts."""
        self.add_steps(other.counts.items())

    def percentile(self, percent: float) -> int:
        """The value in microseconds that ``percent`` of the values do not pass; 0 when there is none."""
        wanted = max(1, -(-self.count * percent // 100))
        seen = 0
        for step in sorted(self.counts):
            seen += self.counts[step]
            if seen >= wanted:
                return step_range(step)[1]
        return 0

    def share_above(self, value_us: float) -> float:
        """Share of the values, 0 to 1, that lie above ``value_us``."""
        if not self.count:
            return 0.0
        limit = step_of(int(value_us))
        return sum(count for step, count in self.counts.items() if step > limit) / self.count

    @property
    def max_us(self) -> int:
        """The highest value of the highest step in use; 0 when there is none."""
        return step_range(max(self.counts))[1] if self.counts else 0

    @property
    def min_us(self) -> int:
        """The lowest value of the lowest step in use; 0 when there is none."""
        return step_range(min(self.counts))[0] if self.counts else 0

    @property
    def mean_us(self) -> float:
        """The mean, from the middles of the steps."""
        if not self.count:
            return 0.0
        return sum(sum(step_range(step)) / 2 * count for step, count in self.counts.items()) / self.count

    def encode(self) -> str:
        """The text form: base64 of HdrHistogram's compressed V2 encoding."""
        payload = bytearray()
        at = 0
        for step in sorted(self.counts):
            if step > at:
                _put_zigzag(payload, at - step)  # a negative number is a run of empty steps
            _put_zigzag(payload, self.counts[step])
            at = step + 1
        header = _HEADER.pack(_COOKIE, len(payload), 0, _SIGNIFICANT_DIGITS, 1, US_MAX, 1.0)
        packed = zlib.compress(header + payload)
        return base64.b64encode(_OUTER.pack(_COOKIE_COMPRESSED, len(packed)) + packed).decode()

    @classmethod
    def decode(cls, text: str) -> Histogram:
        """Read the text form. ValueError when it is not one of ours."""
        try:
            raw = base64.b64decode(text, validate=True)
            cookie, length = _OUTER.unpack_from(raw)
            plain = zlib.decompress(raw[_OUTER.size : _OUTER.size + length])
            inner, size, _, digits, lowest, _, _ = _HEADER.unpack_from(plain)
        except (binascii.Error, struct.error, zlib.error) as error:
            raise ValueError(f"not a histogram: {error}") from None
        if cookie != _COOKIE_COMPRESSED or inner != _COOKIE or digits != _SIGNIFICANT_DIGITS or lowest != 1:
            raise ValueError("a histogram of another kind")
        counts: dict[int, int] = {}
        at, step, end = _HEADER.size, 0, _HEADER.size + size
        while at < end:
            number, at = _get_zigzag(plain, at)
            if number < 0:
                step -= number
            else:
                if number:
                    counts[step] = number
                step += 1
        return cls(counts)


def _put_zigzag(out: bytearray, number: int) -> None:
    value = (number << 1) ^ (number >> 63)
    while value >= 0x80:
        out.append((value & 0x7F) | 0x80)
        value >>= 7
    out.append(value)


def _get_zigzag(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at
        shift += 7
