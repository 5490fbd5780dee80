"""Simulated headers beside the telescope's own of the same epoch: names, order and types of all cards, and
values by rule. The real ones are text dumps outside the project; without them there is nothing to compare."""

from __future__ import annotations

import datetime as dt
import io
import re
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from real_headers import REAL, real_headers

from goafetch.practice.exposure.detector import make_array
from goafetch.practice.exposure.headers import reference_position
from goafetch.practice.exposure.night import Exposure, Night, draw_conditions, draw_course
from goafetch.practice.simulate import to_fits

MISSING = f"no real headers in {REAL}; GOAFETCH_REFERENCE names the folder of another"
pytestmark = [pytest.mark.prove, pytest.mark.skipif(not REAL.is_dir(), reason=MISSING)]

#: Names of persons; what IRAF added to one file; a guide window on the detector, which the simulator opens
#: nowhere; what a program may ask for.
NOT_COMPARED = tuple(
    re.findall(
        r"\S+",
        """
    OBSERVER SSA ORIGIN IRAF-TLM GWFS4 REQMINAM REQMAXAM XTENSION EXTNAME EXTVER SIMPLE EXTEND BITPIX
    NAXIS PCOUNT GCOUNT
        """,
    )
)
#: What follows from the exposure, to the last digit.
SAME = tuple(
    re.findall(
        r"\S+",
        """
    INSTRUME OBJECT OBSTYPE OBSCLASS GEMPRGID OBSID DATALAB OBSERVAT TELESCOP RA DEC EQUINOX TRKFRAME
    FRAME CGUIDMOD UT DATE PA AOFOLD PWFS1_ST AOWFS_ST INPORT FILTER1 FILTER2 FILT2POS UTLWHEEL UTLWPOS
    UTLWCAR COVER CVERPOS DATE-OBS TIME-OBS SAMPMODE EXPMODE BUNIT DSPTIMBV DSPPCIV DETSIZE DETECTOR
    NCCDS NAMPS NEXTEND READMODE COADDS LNRS EXPTIME RELEASE GCALLAMP GCALFILT GCALDIFF GCALSHUT INHERIT
    CCDNAME CCDSIZE CCDSUM CCDSEC DETSEC DATASEC AMPNAME1 AMPSEC1 AMPNAME2 AMPSEC2 AMPNAME3 AMPSEC3
    AMPNAME4 AMPSEC4 CTYPE1 CTYPE2 RADECSYS ARRAYID FRMNAME FRAMEID DATATYP GAIN RATRACK
    DECTRACK
        """,
    )
)
#: What follows from it nearly.
NEAR = {"ELEVATIO": 0.5, "AZIMUTH": 1.5, "AIRMASS": 0.01, "ELAPSED": 1.0, "CRPIX1": 0.01, "CRPIX2": 0.01,
        "XSCALE": 1e-4, "YSCALE": 1e-4, "POFFSET": 1e-4, "QOFFSET": 1e-4, "RAOFFSET": 1e-4, "DECOFFSE": 1e-4,
        "XOFFSET": 0.6, "YOFFSET": 0.6, "MJD-OBS": 0.005, "CD1_1": 2e-8, "CD1_2": 2e-8, "CD2_1": 2e-8,
        "CD2_2": 2e-8, "IAA": 1.1, "RDNOISE": 0.15}  # fmt: skip
#: Kind and size of what the real files hold.
FILES = {
    "S20130126S0134": ("science", 2048),
    "S20130201S0246": ("lamp-on", 2048),
    "S20140113S0167": ("science", 2048),
    "S20140122S0227": ("dark", 2048),
    "S20181023S0087": ("standard", 1024),
}


def like(name: str, primary: fits.Header) -> Exposure:
    """The exposure that the real file holds, as the simulator plans it."""
    kind, size = FILES[name]
    turn = np.radians(primary["PA"])
    p, q = primary["POFFSET"], primary["QOFFSET"]
    start = dt.datetime.fromisoformat(f"{primary['DATE-OBS']}T{primary['UT']}00+00:00")
    sky = kind in ("science", "standard")
    return Exposure(
        name=name,
        kind=kind,
        target=primary["OBJECT"],
        program=primary["GEMPRGID"],
        observation=primary["OBSID"],
        number=int(primary["DATALAB"][-3:]),
        filter1=primary["FILTER1"],
        exptime=primary["EXPTIME"],
        begin=start,
        coadds=primary["COADDS"],
        samples=primary["LNRS"],
        ra=primary["RA"],
        dec=primary["DEC"],
        offset=(p * np.cos(turn) + q * np.sin(turn), q * np.cos(turn) - p * np.sin(turn)),
        field="field" if sky else "",
        size=size,
        position_angle=primary["PA"],
        release=primary["RELEASE"],
        gcal="GCALSHUT" in primary,
    )


def simulated(exposure: Exposure) -> list[fits.Header]:
    night = Night()
    weather = draw_conditions(exposure, night, draw_course(night, "any", exposure.begin))
    arrays = [make_array(i, np.random.default_rng(i)) for i in range(4)]
    content = to_fits(exposure, weather, arrays, [np.zeros((8, 8), "f4")] * 4)
    with fits.open(io.BytesIO(content)) as hdus:
        return [hdu.header for hdu in hdus]


def cards(header: fits.Header) -> list[fits.Card]:
    return [card for card in header.cards if card.keyword and not card.keyword.startswith(NOT_COMPARED)]


def differs(key: str, made: Any, true: Any, exposure: Exposure) -> bool:
    if type(made) is not type(true):
        return True
    if key in ("CRVAL1", "CRVAL2"):
        place = reference_position(exposure)[key == "CRVAL2"]
        return bool(exposure.field) and abs(place - true) * 3600 > 1.8
    turned = exposure.kind == "dark" or exposure.gcal  # the field stands at no position angle
    if key.startswith("CD") and turned:
        return False
    if key in ("ELEVATIO", "AZIMUTH", "AIRMASS") and not exposure.field:
        return False
    if key in NEAR:
        return abs(made - true) > NEAR[key]
    return key in SAME and made != true


@pytest.mark.parametrize("name", FILES)
def test_every_card_is_as_the_telescope_writes_it(name: str) -> None:
    real = real_headers(name)
    exposure = like(name, real[0])
    made = simulated(exposure)
    for mine, true in zip(made, real[:5], strict=True):
        ours, theirs = cards(mine), cards(true)
        if "IRAF-TLM" in true:  # it moved DATE to the front
            ours, theirs = ([c for c in found if c.keyword != "DATE"] for found in (ours, theirs))
        assert [c.keyword for c in ours] == [c.keyword for c in theirs]
        pairs = zip(ours, theirs, strict=True)
        wrong = [
            (o.keyword, o.value, t.value) for o, t in pairs if differs(o.keyword, o.value, t.value, exposure)
        ]
        assert wrong == []
