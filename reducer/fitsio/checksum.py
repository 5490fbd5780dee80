"""Checksums of header-data units as the FITS standard 4.0 defines them (section 4.4.2.7 and appendix J)."""

from __future__ import annotations

from typing import Any

import numpy as np

#: Characters between the digits and the letters, which no checksum shows.
PUNCTUATION = frozenset(b":;<=>?@[\\]^_`")


def sum_words(content: Any, total: int = 0) -> int:
    """Add the 32-bit words of some bytes, zeros behind them, to a ones' complement sum."""
    content = np.frombuffer(content, np.uint8)
    if rest := -content.size % 4:
        content = np.append(content, np.zeros(rest, np.uint8))
    total += int(content.view(">u4").sum(dtype=np.uint64))
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total


def encode(total: int) -> str:
    """The 16 characters of CHECKSUM that bring a unit's sum (with '0' in their place) to minus zero."""
    columns = [_share(byte) for byte in (total ^ 0xFFFFFFFF).to_bytes(4, "big")]
    text = bytes(column[row] for row in range(4) for column in columns).decode("ascii")
    return text[-1] + text[:-1]


def _share(byte: int) -> list[int]:
    """Four letters or digits whose offsets from '0' add up to a byte."""
    quarter, rest = divmod(byte, 4)
    letters = [ord("0") + quarter + rest, *[ord("0") + quarter] * 3]
    while PUNCTUATION.intersection(letters):
        for first in (0, 2):
            if PUNCTUATION.intersection(letters[first : first + 2]):
                letters[first] += 1
                letters[first + 1] -= 1
    return letters
