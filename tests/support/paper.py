"""An instrument on paper alone: one small array, no name, reference pixels, known filters or distortion."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from reducer.astrometry import Field, Site, StaticMap
from reducer.instruments import KNOWN
from reducer.instruments.base import Array, CalibrationRule, Levels, Widths

#: Arcsec per pixel, and per pixel of a stack.
SCALE, STACK_SCALE = 0.1, 0.08

PAPER = replace(
    KNOWN["GSAOI"],
    name="PAPER",
    arrays=(Array(1, "", (96, 128), (0, 0), (-0.5, -0.5), reference_pixels=0),),
    field=Field(
        maps=(StaticMap(np.array([[-6.0], [SCALE]]), np.array([[-4.5, SCALE]]), (96, 128)),),
        centre=(0.45, 0.35),
        side=12.8,
        half_width=6.4,
        area=96 * 128 * SCALE**2,
        reference_scale=SCALE,
        departures=replace(
            KNOWN["GSAOI"].field.departures, rotation=0.02, by_degree={2: 0.01, 3: 0.01, 4: 0.01}, most=0.5
        ),
    ),
    widths=Widths(least=1.5, blurred=8.0, sharp=0.4, halo=28.0),
    site=Site(0.0, 0.0, 2e-4),
    defaults={("resampleToCommonFrame", "pixel_scale"): STACK_SCALE},
    recipes={
        "alignAndStack": (
            "detectSources",
            "adjustWCSToReference",
            "resampleToCommonFrame",
            "scaleCountsToReference",
            "stackFrames",
        )
    },
    filters={},
    aliases={},
    wheels=("FILTER",),
    coadds_are_summed=True,
    calibrations={
        "processed_flat": CalibrationRule(
            same=("filter_name",), covers=True, days=2.0, needed_by=("science", "standard")
        ),
        "lamp_off": CalibrationRule(same=("filter_name", "exposure_time"), days=2.0),
        "processed_bpm": CalibrationRule(covers=True, latest=True),
        "standard": CalibrationRule(same=("filter_name",), days=2.0),
    },
    filter_name=lambda primary: primary.get("FILTER"),
    read_mode=lambda primary: "Only",
    guide_windows=lambda primary, array: ((-3, 5, 90, 99),),
    guided_by=lambda primary: (),
    parity=lambda primary: 1.0,
    levels=lambda primary, array: Levels(2.0, 10.0, 40000.0, 20000.0, 30000.0, (1.0, 0.0, 0.0)),
    repairs=(),
)

#: One like it whose array glows, so that it needs darks. Flats in Y may be taken without lamp-off frames.
GLOWING = replace(
    PAPER,
    name="GLOWING",
    lit_alone=frozenset({"Y"}),
    recipe_of_tag={**PAPER.recipe_of_tag, "DARK": "makeProcessedDark"},
    calibrations={
        **PAPER.calibrations,
        "processed_dark": CalibrationRule(
            same=("exposure_time", "coadds", "read_mode"),
            covers=True,
            days=2.0,
            needed_by=("science", "standard", "flat"),
        ),
    },
)
#: And one more, whose array lies transposed in the field and is lit in a circle, x, y and radius; in K the
#: closed shutter of the calibration unit is what makes flats; its images have a third axis.
CIRCLE = (63.5, 47.5, 52.0)
ROUND = replace(
    GLOWING,
    name="ROUND",
    arrays=(Array(1, "", (96, 128), (0, 0), (-0.5, -0.5), reference_pixels=0, circle=CIRCLE),),
    field=replace(
        PAPER.field,
        maps=(StaticMap(np.array([[-4.5, SCALE]]), np.array([[-6.0], [SCALE]]), (96, 128)),),
        centre=(0.35, 0.45),
    ),
    lit_closed=frozenset({"K"}),
    guide_windows=lambda primary, array: (),
    tags=lambda primary, found: found | {"SPECT"} if primary.get("GRISM") == "in" else found,
)
_Y, _X = np.mgrid[:96, :128]
#: Electrons a second without light: dark current, and the glow of an amplifier in a corner.
GLOW = 0.5 + 8.0 * np.exp(-np.hypot(_X, _Y) / 40.0)
