"""Flamingos-2: one HAWAII-2 array at Gemini South, lit in a circle of six arcmin."""

from __future__ import annotations

import numpy as np

from reducer.astrometry import Departures, Field, StaticMap
from reducer.instruments.base import Array, ColourTerm, Filter, Instrument, Widths, read_data
from reducer.instruments.flamingos2.rules import (
    CALIBRATIONS,
    WHEELS,
    detector_offset,
    filter_name,
    guide_windows,
    guided_by,
    levels,
    parity,
    read_mode,
    repairs,
    section,
    tags_by_wheels,
)
from reducer.instruments.sites import CERRO_PACHON

_ARRAY = read_data("flamingos2", "arrays")
_FILTERS = read_data("flamingos2", "filters")
_SCALE: float = _ARRAY["pixel_scale_arcsec"]
(_WIDTH, _HEIGHT) = _ARRAY["shape_xy"]
(_X0, _Y0), (_XC, _YC) = _ARRAY["pointing_xy_1based"], _ARRAY["circle_centre_xy_1based"]
_RADIUS: float = _ARRAY["circle_radius_pix"]


def _filters() -> dict[str, Filter]:
    zeropoints = _FILTERS["nominal_zeropoint_mag_for_1_electron_per_s"]
    extinction, terms = _FILTERS["extinction_mag_per_airmass"], _FILTERS["colour_terms"]
    return {
        name: Filter(
            micron,
            (zeropoints[name],) if name in zeropoints else (),
            extinction.get(name),
            tuple(ColourTerm(**term) for term in terms.get(name, ())),
        )
        for name, micron in _FILTERS["filter_wavelength_um"].items()
    }


#: At a position angle of 0 north is along the array's x axis, east along its y axis; no distortion is known.
MAP = StaticMap(np.array([[-_SCALE * _Y0, _SCALE]]), np.array([[-_SCALE * _X0], [_SCALE]]), (_HEIGHT, _WIDTH))

#: The scale of headers differs by 0.4 % between epochs. Of distortion nothing is known but that the field's
#: edge may be off by some pixels: what stars do not tell is held near zero.
UNKNOWN_DISTORTION = Departures(
    shift=3.0,
    rotation=0.3,
    stretch=0.4,
    by_degree={2: 0.05, 3: 0.05, 4: 0.02},
    array=0.001,
    most_rotation=np.radians(0.5),
    most_stretch=1e-2,
    most=15.0,
)

FLAMINGOS2 = Instrument(
    name="F2",
    arrays=(
        Array(
            1,
            "",
            (_HEIGHT, _WIDTH),
            (0, 0),
            (-0.5, -0.5),
            reference_pixels=0,
            circle=(_XC - 1, _YC - 1, _RADIUS),
        ),
    ),
    field=Field(
        maps=(MAP,),
        centre=(_SCALE * (_YC - _Y0), _SCALE * (_XC - _X0)),
        side=_SCALE * 2 * _RADIUS,
        half_width=_SCALE * _RADIUS,
        area=float(np.pi * (_SCALE * _RADIUS) ** 2),
        reference_scale=_SCALE,
        departures=UNKNOWN_DISTORTION,
    ),
    site=CERRO_PACHON,
    pupil=(7.9, 1.2),  # gemini.edu, telescope
    widths=Widths(least=1.3, blurred=11.0, sharp=0.5, halo=6.0),
    defaults={
        ("resampleToCommonFrame", "pixel_scale"): _SCALE,
        ("addDQ", "latency"): False,  # its persistence is not known
    },
    recipes={},
    recipe_of_tag={"DARK": "makeProcessedDark", "FLAT": "makeProcessedFlat", "": "reduce_nostack"},
    filters=_filters(),
    aliases=_FILTERS["aliases"],
    wheels=tuple(WHEELS),
    lit_alone=frozenset(),
    lit_closed=frozenset({"K-blue", "Ks", "K-red", "K-long"}),
    coadds_are_summed=True,
    calibrations=CALIBRATIONS,
    filter_name=filter_name,
    read_mode=read_mode,
    levels=levels,
    tags=tags_by_wheels,
    section=section,
    guide_windows=guide_windows,
    guided_by=guided_by,
    parity=parity,
    detector_offset=detector_offset,
    repairs=repairs,
)
