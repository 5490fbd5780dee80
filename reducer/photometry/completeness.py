"""How bright a star of a stack has to be to be found among the others."""

from __future__ import annotations

import numpy as np

from reducer.photometry.objects import Correction
from reducer.types import F64, Header, Table

COMPLETENESS = np.dtype([("FLUX", "f8"), ("FRACTION", "f8")])
#: Magnitudes between the rows of the table, and the fractions that its ends lie within.
STEP, ENDS = 0.25, (0.5, 99.5)
#: Keywords of the light of which a fraction of stars is found.
KEYWORDS = {"COMPL90": 0.9, "COMPL50": 0.5}


def completeness_table(limits: F64, correction: Correction) -> Table:
    """COMPLETENESS: of the places of an image, the FRACTION at which a star of a FLUX (electrons in total) is
    found, by how it would stand out of noise and neighbours there.

    ``limits``: the light in the aperture that ``correction`` begins from, at places of the image, that a star
    needs. Empty without places or correction.
    """
    gain = 10.0 ** (-0.4 * float(correction.at(*correction.centre[:, None])[0][0]))
    needed = np.sort(limits * gain)
    needed = needed[np.isfinite(needed) & (needed > 0)]
    if not len(needed):
        return np.zeros(0, COMPLETENESS)
    faint, bright = np.percentile(needed, ENDS)
    count = int(np.ceil(2.5 * np.log10(bright / faint) / STEP)) + 1
    table = np.zeros(count, COMPLETENESS)
    table["FLUX"] = faint * 10.0 ** (0.4 * STEP * np.arange(count))
    table["FRACTION"] = np.searchsorted(needed, table["FLUX"], side="right") / len(needed)
    return table


def write_completeness(header: Header, table: Table) -> None:
    """Put the light of which 90 and 50 % of stars are found into a header."""
    for key, fraction in KEYWORDS.items():
        if len(table):
            light = 10.0 ** np.interp(fraction, table["FRACTION"], np.log10(table["FLUX"]))
            header[key] = round(float(light), 1)
