"""GSAOI: four HAWAII-2RG arrays at the adaptive optics of Gemini South."""

from __future__ import annotations

import numpy as np

from reducer.astrometry import Departures, Field, StaticMap
from reducer.instruments.base import Array, ColourTerm, Filter, Instrument, Widths, read_data
from reducer.instruments.gsaoi.rules import (
    ARRAYS,
    CALIBRATIONS,
    CLEAR_AT,
    ORIGINS,
    SIDE,
    detector_offset,
    filter_name,
    guide_windows,
    guided_by,
    levels,
    parity,
    read_mode,
    repairs,
    section,
)
from reducer.instruments.sites import CERRO_PACHON
from reducer.types import F64

_FILTERS = read_data("gsaoi", "filters")


def _filters() -> dict[str, Filter]:
    zeropoints = _FILTERS["nominal_zeropoint_mag_for_1_electron_per_s"]
    extinction, terms = _FILTERS["extinction_mag_per_airmass"], _FILTERS["colour_terms"]
    return {
        name: Filter(
            micron,
            tuple(zeropoints.get(name, {}).values()),
            extinction.get(name),
            tuple(ColourTerm(**term) for term in terms.get(name, ())),
        )
        for name, micron in _FILTERS["filter_wavelength_um"].items()
    }


def _maps() -> tuple[StaticMap, ...]:
    """The static maps of the arrays: the instrument scientist's solution."""
    arrays = sorted(read_data("gsaoi", "distortion")["arrays"], key=lambda array: array["extension"])
    axes = [array["pixel_to_static"] for array in arrays]
    return tuple(StaticMap(_coefficients(each["x"]), _coefficients(each["y"]), (SIDE, SIDE)) for each in axes)


def _coefficients(terms: dict[str, float]) -> F64:
    table = np.zeros((4, 4))
    for name, value in terms.items():
        i, j = name[1:].split("_")
        table[int(i), int(j)] = value
    return table


#: Rotation 0.04 degree, scale and shear 1.4e-4. What the adaptive optics change from exposure to exposure is
#: quadratic in the main; where stars are few, higher terms that are allowed more than their due do harm away
#: from the stars.
MCAO = Departures(
    shift=5.0,
    rotation=0.030,
    stretch=0.006,
    by_degree={2: 0.020, 3: 0.002, 4: 0.0007},
    array=0.0007,
    most_rotation=np.radians(0.1),
    most_stretch=1e-3,
    most=3,
)

GSAOI = Instrument(
    name="GSAOI",
    arrays=tuple(
        Array(number, name, (SIDE, SIDE), (x, y), (x / SIDE - 1, y / SIDE - 1), reference_pixels=4)
        for number, (name, (x, y)) in enumerate(zip(ARRAYS, ORIGINS, strict=True), 1)
    ),
    field=Field(
        maps=_maps(),
        centre=(-5.8, -5.5),
        side=85.0,
        half_width=43.5,
        area=7000.0,
        reference_scale=0.0197,
        departures=MCAO,
    ),
    site=CERRO_PACHON,
    pupil=(7.9, 1.2),  # gemini.edu, telescope
    widths=Widths(least=2.2, blurred=11.0, sharp=0.08, halo=28.0),
    defaults={("resampleToCommonFrame", "pixel_scale"): 0.02},  # as DRAGONS makes it
    recipes={},
    recipe_of_tag={"DARK": "makeProcessedBPM", "FLAT": "makeProcessedFlat", "": "reduce_nostack"},
    filters=_filters(),
    aliases=_FILTERS["aliases"],
    wheels=tuple(CLEAR_AT),
    lit_alone=frozenset({"Z", "J", "HeI1083", "PaG", "PaB", "Jcont", "Hcont"}),
    lit_closed=frozenset(),
    coadds_are_summed=False,
    calibrations=CALIBRATIONS,
    filter_name=filter_name,
    read_mode=read_mode,
    levels=levels,
    tags=lambda primary, found: found,
    section=section,
    guide_windows=guide_windows,
    guided_by=guided_by,
    parity=parity,
    detector_offset=detector_offset,
    repairs=repairs,
    references=tuple(read_data("gsaoi", "references")["papers"]),
)
