"""Sort the samples of many pixels at once, by a network of comparisons that is the same for all of them."""

from __future__ import annotations

import numpy as np
from numba import njit

#: Pixels of a row that are sorted together; their samples stay in the processor's nearest memory.
CHUNK = 512


@njit(cache=True, nogil=True)
def sort_samples(rows):  # type: ignore[no-untyped-def]
    """Sort (n, pixels) along the first axis, in place: Batcher's merge exchange (Knuth, The Art of Computer
    Programming, volume 3, section 5.2.2, algorithm M)."""
    count, width = rows.shape
    top = 1
    while top * 2 < count:
        top *= 2
    p = top
    while p > 0:
        q, r, d = top, 0, p
        while d > 0:
            for a in range(count - d):
                if a & p != r:
                    continue
                low, high = rows[a], rows[a + d]
                for i in range(width):
                    x, y = low[i], high[i]
                    low[i], high[i] = min(x, y), max(x, y)
            d, q, r = (q - p if q != p else 0), q // 2, p
        p //= 2


@njit(cache=True, nogil=True)
def sort_chunk(data, state, row, first, rows, found):  # type: ignore[no-untyped-def]
    """Sort the samples with state 1 of up to CHUNK pixels of a row, from column ``first``, into ``rows``
    (n, CHUNK), others after them; ``found`` (CHUNK,): how many there are. Returns the number of pixels."""
    size, used = min(CHUNK, data.shape[2] - first), 0
    found[:] = 0
    for n in range(data.shape[0]):
        line, any_used = rows[used], 0
        for i in range(size):
            take = state[n, row, first + i] == 1
            line[i] = data[n, row, first + i] if take else np.float32(np.inf)
            found[i] += take
            any_used |= take
        # An exposure that has nothing here needs no place in the network.
        used += any_used
    if used > 1:
        sort_samples(rows[:used])
    return size if used else 0
