"""How bright a star of a stack has to be to be found among the others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reducer.photometry.objects import Correction
from reducer.types import F64, Header, Table

COMPLETENESS = np.dtype([("FLUX", "f8"), ("FRACTION", "f8")])
#: Magnitudes between the rows of the table, and the fractions that its ends lie within.
STEP, ENDS = 0.25, (0.005, 0.995)
#: Bright stars in each of the squares in which they are counted, and squares along a side at most; the part
#: of the places at which such a star is found.
PER_SQUARE, MOST_SQUARES, BRIGHT = 30, 8, 0.9
#: Keywords of the light of which a fraction of stars is found.
KEYWORDS = {"COMPL90": 0.9, "COMPL50": 0.5}


def completeness_table(needed: Table, sources: Table, correction: Correction) -> Table:
    """COMPLETENESS: the FRACTION of stars of a FLUX (electrons in total) that are found, by how they would
    stand out of noise and neighbours at places of an image.

    ``needed``: the light that a star needs there (dtype ``NEED``), in the aperture that ``correction``
    begins from. Stars are taken to be spread as the bright ones of ``sources`` are: more where it is crowded.
    Empty without places or correction.
    """
    gain = 10.0 ** (-0.4 * correction.at(needed["x"], needed["y"])[0])
    total = needed["light"] * gain
    known = np.isfinite(total) & (total > 0)
    if not known.any():
        return np.zeros(0, COMPLETENESS)
    share = crowding(needed, sources)[known]
    if not share.any():
        share[:] = 1.0
    order = np.argsort(total[known])
    total, fraction = total[known][order], np.cumsum(share[order]) / share.sum()
    faint, bright = np.interp(ENDS, fraction, total)
    count = int(np.ceil(2.5 * np.log10(bright / faint) / STEP)) + 1
    table = np.zeros(count, COMPLETENESS)
    table["FLUX"] = faint * 10.0 ** (0.4 * STEP * np.arange(count))
    table["FRACTION"] = np.interp(table["FLUX"], total, fraction)
    return table


def crowding(needed: Table, sources: Table) -> F64:
    """How many bright stars each of some places (n,) of an image stands for.

    They are counted in squares of about PER_SQUARE; bright are those that are found nearly anywhere.
    """
    stars = sources[sources["flux"][:, 0] > np.quantile(needed["light"], BRIGHT)]
    low, high = (np.array([end(needed["x"]), end(needed["y"])]) for end in (np.min, np.max))
    side = int(np.clip(np.sqrt(len(stars) / PER_SQUARE), 1, MOST_SQUARES))

    def square(table: Table) -> NDArray[np.intp]:
        places = np.stack([table["x"], table["y"]], axis=1)
        cell = np.clip((places - low) / (high - low + 1.0) * side, 0, side - 1).astype(np.intp)
        return np.asarray(cell[:, 1] * side + cell[:, 0])

    of_places = square(needed)
    counts = np.bincount(square(stars), minlength=side**2) / np.maximum(
        np.bincount(of_places, minlength=side**2), 1
    )
    return np.asarray(counts[of_places])


def write_completeness(header: Header, table: Table) -> None:
    """Put the light of which 90 and 50 % of stars are found into a header."""
    for key, fraction in KEYWORDS.items():
        if len(table):
            light = 10.0 ** np.interp(fraction, table["FRACTION"], np.log10(table["FLUX"]))
            header[key] = round(float(light), 1)
