"""What the headers of an H.264 stream say: is every packet a frame, and where can decoding begin.

Nothing is decoded. Numbers of tables and sections are those of ITU-T H.264.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

# Kinds of units (Table 7-1), and the message that marks a recovery point (Annex D).
_SLICE, _IDR_SLICE, _MESSAGES, _SEQUENCE = 1, 5, 6, 7
_RECOVERY_POINT = 6
_WITH_CHROMA_FORMAT = (44, 83, 86, 100, 110, 118, 122, 128, 134, 138, 139, 244)  # profiles
_START_CODE = re.compile(rb"\x00\x00\x00?\x01")
_HEADER_BYTES = 64  # more than any slice's first fields take


class H264Scan:
    """Reads the headers of packets in the order of decoding.

    Attributes:
        is_regular: Whether, so far, every packet is one whole frame, none is missing before it, and
            neither size nor coding changes: so the packets tell which frames a player shows.
        is_closed: Whether, so far, decoding can begin only where nothing refers across (IDR).
    """

    def __init__(self, extradata: bytes | None) -> None:
        """Begin with the stream's extradata, which says how units are separated."""
        self._length_bytes = 0  # 0: by start codes
        self._sequence: bytes | None = None
        self._fields: _Sequence | None = None
        self._frame_number = 0  # of the last frame that others may refer to
        self.is_regular = True
        self.is_closed = True
        if extradata and extradata[0] == 1 and len(extradata) > 6:
            self._length_bytes = (extradata[4] & 3) + 1
            size = int.from_bytes(extradata[6:8], "big")
            self._take_sequence(extradata[8 : 8 + size])

    def add(self, packet: bytes) -> bool:
        """Take the next packet.

        Returns:
            Whether all frames that are shown from it on can be decoded from it on: nothing refers
            to what was before (IDR), or a recovery point says that no frame has to be decoded first
            (open GOPs). Where pictures are refreshed part by part (intra refresh) recovery points
            are marked as key frames too, and what is decoded from there is damaged for a while.
        """
        pictures, is_idr = 0, False
        recovers: bool | None = None
        for unit in self._units(packet):
            kind = unit[0] & 31
            if kind in (_SLICE, _IDR_SLICE):
                is_idr = kind == _IDR_SLICE
                pictures += self._take_slice(unit, is_idr)
            elif kind == _SEQUENCE:
                self._take_sequence(unit)
            elif kind == _MESSAGES:
                recovers = recovers or _recovers_at_once(_unescaped(unit[1:]))
        self.is_regular &= pictures == 1
        self.is_closed &= is_idr or recovers is None
        return is_idr or bool(recovers)

    def _units(self, packet: bytes) -> Iterator[bytes]:
        """Yield the units of a packet, each with its first byte, which says its kind."""
        if not self._length_bytes:
            yield from (unit for unit in _START_CODE.split(packet) if unit)
            return
        n, at = self._length_bytes, 0
        while at + n < len(packet):
            size = int.from_bytes(packet[at : at + n], "big")
            if size:
                yield packet[at + n : at + n + size]
            at += n + size

    def _take_sequence(self, unit: bytes) -> None:
        """Take a sequence parameter set: a second one is another size or coding."""
        if self._sequence is None:
            self._sequence = unit
            try:
                self._fields = _read_sequence(unit)
            except IndexError:
                self._fields = None
        self.is_regular &= self._fields is not None and self._sequence == unit

    def _take_slice(self, unit: bytes, is_idr: bool) -> bool:
        """Check a slice's number; returns whether a picture begins with it (7.3.3, 7.4.3)."""
        if self._fields is None:
            self.is_regular = False
            return False
        bits = _Bits(_unescaped(unit[1:_HEADER_BYTES]))
        try:
            begins = bits.code() == 0
            bits.code(), bits.code()  # kind of slice, picture parameter set
            number = bits.number(self._fields.number_bits)
        except IndexError:
            self.is_regular = False
            return False
        if begins:
            following = (self._frame_number + 1) % (1 << self._fields.number_bits)
            self.is_regular &= number == (0 if is_idr else following)
            if is_idr or unit[0] >> 5 & 3:
                self._frame_number = number
        return begins


class _Sequence(NamedTuple):
    number_bits: int


class _Bits:
    """Reads numbers bit by bit; raises IndexError at the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, n: int) -> int:
        value = 0
        for _ in range(n):
            value = value << 1 | self._data[self._at >> 3] >> (7 - self._at % 8) & 1
            self._at += 1
        return value

    def code(self) -> int:
        """Read an Exp-Golomb code (9.1)."""
        zeros = 0
        while not self.number(1):
            zeros += 1
        return (1 << zeros) - 1 + self.number(zeros)


def _read_sequence(unit: bytes) -> _Sequence | None:
    """Read a sequence parameter set (7.3.2.1.1); None if frames may be fields or be left out."""
    bits = _Bits(_unescaped(unit[1:]))
    profile = bits.number(8)
    bits.number(16)  # constraints and level
    bits.code()  # its own number
    if profile in _WITH_CHROMA_FORMAT:
        is_444 = bits.code() == 3
        bits.number(is_444)
        bits.code(), bits.code()  # bit depths
        bits.number(1)
        if bits.number(1):  # matrices of its own, which nothing common has
            return None
    number_bits = bits.code() + 4
    order = bits.code()
    if order == 0:
        bits.code()
    elif order == 1:
        return None
    bits.code()  # reference frames
    may_leave_out = bits.number(1)
    bits.code(), bits.code()  # width and height
    has_only_frames = bits.number(1)
    return _Sequence(number_bits) if has_only_frames and not may_leave_out else None


def _unescaped(data: bytes) -> bytes:
    return data.replace(b"\0\0\3", b"\0\0")


def _recovers_at_once(content: bytes) -> bool | None:
    """Return whether no frame has to be decoded before a recovery point; None if it is none."""
    at = 0
    while at + 2 <= len(content) and content[at:] != b"\x80":
        numbers = []
        for _ in range(2):  # kind and size: 255 as often as it fits, then the rest
            number = 0
            while at < len(content) and content[at] == 255:
                number, at = number + 255, at + 1
            numbers.append(number + (content[at] if at < len(content) else 0))
            at += 1
        kind, size = numbers
        message = content[at : at + size]
        if kind == _RECOVERY_POINT and message:
            return bool(message[0] & 128)  # a first bit of 1 is the number 0
        at += size
    return None
