"""Which frames of H.264 decoding can really begin at: a file marks others as well."""

from __future__ import annotations

import re
from collections.abc import Iterator

# Kinds of units of the stream (ITU-T H.264, Table 7-1) and of its messages (Annex D).
_IDR_SLICE, _MESSAGES = 5, 6
_RECOVERY_POINT = 6
_START_CODE = re.compile(rb"\x00\x00\x00?\x01")


def is_clean_start(packet: bytes, extradata: bytes | None) -> bool:
    """Return whether all frames that are shown from a key frame on can be decoded from it on.

    So it is where nothing after refers to what was before (IDR), and where a recovery point says
    that zero frames have to be decoded first (open GOPs). Where pictures are refreshed part by part
    (intra refresh) a recovery point is marked as a key frame too, and what is decoded from there on
    is damaged until all parts were refreshed.

    Args:
        packet: A coded frame of H.264.
        extradata: The stream's; it says how units are separated.
    """
    for unit in _units(packet, extradata):
        kind = unit[0] & 31
        if kind == _IDR_SLICE:
            return True
        if kind == _MESSAGES:
            for what, message in _messages(unit[1:].replace(b"\0\0\3", b"\0\0")):
                # A first bit of 1 is the number 0 in the code of these numbers.
                if what == _RECOVERY_POINT and message and message[0] & 128:
                    return True
    return False


def _units(packet: bytes, extradata: bytes | None) -> Iterator[bytes]:
    """Yield the units of a packet, each with its first byte, which says its kind."""
    if not extradata or extradata[0] != 1 or len(extradata) < 5:
        yield from (unit for unit in _START_CODE.split(packet) if unit)
        return
    n, at = (extradata[4] & 3) + 1, 0  # bytes of the length before each unit
    while at + n < len(packet):
        size = int.from_bytes(packet[at : at + n], "big")
        if size:
            yield packet[at + n : at + n + size]
        at += n + size


def _messages(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield kind and content of the messages in a unit."""
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
        yield kind, content[at : at + size]
        at += size
