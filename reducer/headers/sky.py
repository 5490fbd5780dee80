"""Which exposures look at one field, and what makes one of empty sky serve another."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Part of an exposure's time that its sky must have at least: below, the sky's noise, scaled, would prevail.
SHORTEST = 0.25
#: Part of the field by which pointings that belong together are apart at most.
SEPARATE = 0.9


def link(east: NDArray[np.float64], north: NDArray[np.float64], distance: float) -> NDArray[np.integer[Any]]:
    """Number the groups in which each pointing is within a distance of another one, from 0."""
    groups = np.arange(east.size)
    near = np.hypot(east[:, None] - east, north[:, None] - north) < distance
    for _ in range(east.size):
        groups = np.array([groups[near[place]].min() for place in range(east.size)])
    return np.unique(groups, return_inverse=True)[1]
