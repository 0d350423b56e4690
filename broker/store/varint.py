"""Whole numbers as few bytes: unsigned LEB128, for progress that is written with every commit. Pure.

Path: progress.py (SQLite, memory), kafka/partition.py (commit metadata) → [varint].
"""

from collections.abc import Iterator


def put(out: bytearray, number: int) -> None:
    """Append `number`, at least 0."""
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def numbers(data: bytes) -> Iterator[int]:
    """What was put, in that order. Raises ValueError when the last one is cut off."""
    number = shift = 0
    for byte in data:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield number
            number = shift = 0
    if shift:
        raise ValueError("a number is cut off")
