"""Headers of a raw GSAOI file with all their troubles (keywords as in DRAGONS gemini_instruments)."""

from __future__ import annotations

import math
from datetime import timedelta
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from goafetch.practice.exposure.detector import Array
from goafetch.practice.exposure.night import Conditions, Exposure
from goafetch.practice.exposure.optics import (
    POINTING_PIXEL,
    field_centre,
    pixel_to_static,
    read_data,
    sky_to_instrument,
)
from goafetch.practice.exposure.region import SIZE, Region, stated_region
from goafetch.practice.exposure.troubles import duration

F64 = NDArray[np.float64]
Card = tuple[str, Any, str]

DETECTOR_ORIGIN = ((2048, 0), (0, 0), (0, 2048), (2048, 2048))
CLASSES = {
    "science": "science",
    "sky": "science",
    "standard": "partnerCal",
    "lamp-on": "dayCal",
    "lamp-off": "dayCal",
    "dark": "dayCal",
    "mask": "dayCal",
}
OFFSETS = ("XOFFSET", "YOFFSET", "POFFSET", "QOFFSET", "RAOFFSET", "DECOFFSE")
FULL_APERTURE = 6933
#: Central wavelengths, micron, of the filters that the published table leaves out.
BROAD_BANDS = {"J": 1.25, "H": 1.635, "K": 2.2}


def primary_cards(exposure: Exposure, conditions: Conditions) -> list[Card]:
    """The primary header's cards, in order."""
    cards = [
        *_program_cards(exposure),
        *_target_cards(exposure),
        *_telescope_cards(exposure, conditions),
        *_time_cards(exposure),
        *_instrument_cards(exposure),
        *_guider_cards(exposure),
    ]
    missing = OFFSETS if "no offsets" in exposure.trouble else ()
    return [card for card in cards if card[0] not in missing]


def _program_cards(exposure: Exposure) -> list[Card]:
    return [
        ("INSTRUME", "GSAOI", "Instrument used to acquire data"),
        ("OBJECT", exposure.target, "Object Name"),
        ("OBSTYPE", {"dark": "DARK", "mask": "BPM"}.get(exposure.kind, "OBJECT"), "Observation type"),
        ("OBSCLASS", CLASSES[exposure.kind], "Observe class"),
        ("GEMPRGID", exposure.program, "Gemini programme ID"),
        ("OBSID", exposure.observation, "Observation ID / Data label"),
        ("DATALAB", f"{exposure.observation}-{exposure.number:03d}", "DHS data label"),
        ("OBSERVER", "V. Observer", "Observer"),
        ("OBSERVAT", "Gemini-South", "Name of telescope (Gemini-North|Gemini-South)"),
        ("TELESCOP", "Gemini-South", "Gemini-South"),
        ("SSA", "S. Specialist", "SSA"),
    ]


def _target_cards(exposure: Exposure) -> list[Card]:
    on_sky = bool(exposure.field)
    return [
        ("PARALLAX", 0.0, "Parallax of Target"),
        ("RADVEL", 0.0, "Heliocentric Radial Velocity"),
        ("EPOCH", 2000.0, "Epoch for Target coordinates"),
        ("EQUINOX", 2000.0, "Equinox of coordinate system"),
        ("TRKEQUIN", 2000.0, "Tracking equinox"),
        ("RA", exposure.ra, "Target Right Ascension"),
        ("DEC", exposure.dec, "Target Declination"),
        ("FRAME", "FK5" if on_sky else "AZEL_TOPO", "Target coordinate system"),
        ("TRKFRAME", "FK5" if on_sky else "APPT", "Tracking co-ordinate"),
        # At the dome's screen the telescope stands still: RA runs at the sidereal rate, in seconds a second.
        ("DECTRACK", 0.0 if on_sky else 0.0085083874064, "Differential tracking rate Dec"),
        ("RATRACK", 0.0 if on_sky else 1.00206982996, "Differential tracking rate RA"),
        ("PMDEC", 0.0, "Proper Motion in Declination"),
        ("PMRA", 0.0, "Proper Motion in RA"),
    ]


def offsets_pq(exposure: Exposure) -> tuple[float, float]:
    """The offset along the instrument's P (east at position angle 0) and Q (north), arcsec."""
    angle = math.radians(exposure.position_angle)
    east, north = exposure.offset
    return (
        east * math.cos(angle) - north * math.sin(angle),
        east * math.sin(angle) + north * math.cos(angle),
    )


def _telescope_cards(exposure: Exposure, conditions: Conditions) -> list[Card]:
    where = exposure.pointing()
    p, q = offsets_pq(exposure)
    east, north = exposure.offset
    return [
        ("ELEVATIO", where.elevation, "Current Elevation"),
        ("AZIMUTH", where.azimuth, "Current Azimuth"),
        (
            "CRPA",
            (where.parallactic - exposure.position_angle + 540.0) % 360.0 - 180.0,
            "Current Cass Rotator PA",
        ),
        ("HA", _sexagesimal(where.hour_angle / 15.0), "Telescope hour angle"),
        ("AIRMASS", round(conditions.airmass, 3), "Mean airmass for the observation"),
        ("AMSTART", max(1.0, round(conditions.airmass - 1e-3, 3)), "Airmass at start of exposure"),
        ("AMEND", round(conditions.airmass + 1e-3 * bool(exposure.field), 3), "Airmass at end of exposure"),
        ("PA", exposure.position_angle, "Sky Position Angle at start of exposure"),
        ("IAA", 359.88 if exposure.port == 1 else 89.7, "Instrument Alignment Angle"),
        ("INPORT", exposure.port, "Number of ISS port where GSAOI is located"),
        ("XOFFSET", round(p, 5), "Telescope offset in x"),
        ("YOFFSET", round(q, 5), "Telescope offset in y"),
        ("POFFSET", round(p, 5), "Telescope offset in p"),
        ("QOFFSET", round(q, 5), "Telescope offset in q"),
        ("RAOFFSET", round(east, 5), "Telescope offset in RA"),
        ("DECOFFSE", round(north, 5), "Telescope offset in DEC"),
        ("RATRGOFF", 0.0, "Target offset in RA"),
        ("DECTRGOF", 0.0, "Target offset in DEC"),
        ("RAWIQ", "70-percentile", "Raw Image Quality"),
        ("RAWCC", "50-percentile", "Raw Cloud Cover"),
        ("RAWWV", "Any", "Raw Water Vapour/Transparency"),
        ("RAWBG", "Any", "Raw Background"),
        ("RAWPIREQ", "YES", "PI Requirements Met"),
        ("RAWGEMQA", "USABLE", "Gemini Quality Assessment"),
        ("REQIQ", "70-percentile", "Requested Image Quality"),
        ("REQCC", "50-percentile", "Requested Cloud Cover"),
        ("REQWV", "Any", "Requested Water Vapour"),
        ("REQBG", "Any", "Requested Background"),
    ]


def _time_cards(exposure: Exposure) -> list[Card]:
    begin = exposure.begin
    length = duration(exposure)
    end = begin + timedelta(seconds=length + 1.1 * exposure.coadds)
    local = begin - timedelta(hours=3)
    ut = begin.strftime("%H:%M:%S.") + f"{begin.microsecond // 100000}"
    return [
        ("DATE-OBS", begin.strftime("%Y-%m-%d"), "Observation date (UT)"),
        ("DATE", begin.strftime("%Y-%m-%d"), "Current UT date (YYYY-MM-DD)"),
        ("TIMESYS", "UTC", "Time system used"),
        ("UT", ut, "UTC at start of exposure"),
        ("UTSTART", ut, "UTC at start of observation"),
        ("UTEND", end.strftime("%H:%M:%S.") + f"{end.microsecond // 100000}", "UTC at end of observation"),
        ("LT", local.strftime("%H:%M:%S.") + f"{local.microsecond // 100000}", "Local time at start"),
        ("MJD-OBS", 0.0, "MJD of observation"),
        ("RELEASE", exposure.release, "End of proprietary period YYYY-MM-DD"),
        ("PROP_MD", exposure.coordinates_withheld, "Proprietary Metadata"),
        ("ELAPSED", length, "Elapsed observation time (seconds)"),
    ]


def _instrument_cards(exposure: Exposure) -> list[Card]:
    micron = (BROAD_BANDS | read_data("gsaoi")["filter_wavelength_um"]).get(exposure.filter_name, 2.2)
    unknown = bool({"unknown filter", "lost filter"} & exposure.trouble)
    turning = "lost filter" in exposure.trouble or exposure.filter2 != "Clear"
    return [
        ("DETECTOR", "GSAOI", "Detector name"),
        ("WAVELENG", round(micron * 1e4, 1), "Effective Target Wavelength"),
        ("UTLWHEEL", "Clear", "Utility wheel position"),
        ("FILTER1", exposure.filter1, "Filter 1 name"),
        ("FILT1POS", 200 if exposure.filter1 == "Clear" else 1650, "Filter 1 position"),
        ("FILTER2", "Unknown" if unknown else exposure.filter2, "Filter 2 name"),
        ("FILT2POS", 3120 if turning else FULL_APERTURE, "Filter 2 position"),
        ("EXPTIME", exposure.exptime, "Exposure time (seconds)"),
        ("COADDS", exposure.coadds, "Number of coadds"),
        ("LNRS", exposure.samples, "Number of non-destructive reads"),
        ("READMODE", "FOWLER", "Readout mode"),
        ("NDAVGS", 1, "Digital averages"),
        ("READDLAY", 5.15, "Read delay"),
        ("PERIOD", 1.1, "Read period"),
        ("DETTEMP", 77.2, "Detector temperature (K)"),
        ("BUNIT", "ADU", "Unit of the pixel values"),
        ("NEXTEND", 4, "Number of extensions"),
    ]


def _guider_cards(exposure: Exposure) -> list[Card]:
    guided = exposure.kind == "science"
    cards: list[Card] = [
        ("AOFOLD", "IN" if exposure.kind in ("science", "sky") else "OUT", "AO Pick-off Mirror Position"),
        ("PWFS1_ST", "parked", "PWFS1 probe state"),
        ("PWFS2_ST", "parked", "PWFS2 probe state"),
        ("OIWFS_ST", "parked", "OIWFS probe state"),
        ("AOWFS_ST", "parked", "AOWFS probe state"),
        ("CGUIDMOD", "Basic" if guided else "Off", "Carousel guide mode"),
    ]
    if guided:
        cards += [(f"GWFS{n}CFG", f"CWFS{n}", f"GeMS guider {n} configuration") for n in (1, 2, 3)]
    return cards


def array_cards(exposure: Exposure, array: Array) -> list[Card]:
    """The cards of one array's extension: sections, and a WCS that is only nearly right."""
    stated = stated_region(exposure.size)
    x1, y1, x2, y2 = stated.x0 + 1, stated.y0 + 1, stated.x0 + stated.nx, stated.y0 + stated.ny
    dx, dy = DETECTOR_ORIGIN[array.index]
    return [
        ("ARRAYID", array.name, "Detector array name"),
        ("FRMNAME", f"{exposure.name}:{array.index + 1}", "Frame name"),
        ("DETSIZE", "[1:4096,1:4096]", "Size of the whole detector"),
        ("DETSEC", f"[{x1 + dx}:{x2 + dx},{y1 + dy}:{y2 + dy}]", "Section of the whole detector"),
        ("CCDSEC", f"[{x1}:{x2},{y1}:{y2}]", "Section of the array"),
        ("DATASEC", f"[1:{stated.nx},1:{stated.ny}]", "Section with data"),
        ("RDCHAN", 4, "Read-out channels"),
        *(_wcs_cards(exposure, array.index, stated) if exposure.kind != "mask" else []),
    ]


def _wcs_cards(exposure: Exposure, index: int, region: Region) -> list[Card]:
    ra, dec = commanded_position(exposure)
    if "wrong wcs" in exposure.trouble:
        ra, dec = exposure.ra + 0.0061, exposure.dec - 0.0047
    pixel, matrix = header_geometry(index)
    cd = sky_to_instrument(math.radians(exposure.position_angle), exposure.port).T @ matrix / 3600.0
    names = ("RA---TAN", "DEC--TAN") if exposure.field else ("LINEAR", "LINEAR")
    return [
        ("RADECSYS", "FK5", "R.A./DEC. coordinate system reference"),
        ("EQUINOX", 2000.0, "Equinox of coordinate system"),
        ("CTYPE1", names[0], "R.A. in tangent plane projection"),
        ("CRPIX1", round(pixel[0] - region.x0, 4), "Ref pix of axis 1"),
        ("CRVAL1", ra, "RA at Ref pix in decimal degrees"),
        ("CTYPE2", names[1], "DEC. in tangent plane projection"),
        ("CRPIX2", round(pixel[1] - region.y0, 4), "Ref pix of axis 2"),
        ("CRVAL2", dec, "DEC at Ref pix in decimal degrees"),
        ("CD1_1", float(cd[0, 0]), "WCS matrix element 1 1"),
        ("CD1_2", float(cd[0, 1]), "WCS matrix element 1 2"),
        ("CD2_1", float(cd[1, 0]), "WCS matrix element 2 1"),
        ("CD2_2", float(cd[1, 1]), "WCS matrix element 2 2"),
    ]


def commanded_position(exposure: Exposure) -> tuple[float, float]:
    """Target plus offset, degrees."""
    dec = exposure.dec + exposure.offset[1] / 3600.0
    return exposure.ra + exposure.offset[0] / 3600.0 / math.cos(math.radians(dec)), dec


@cache
def header_geometry(index: int) -> tuple[tuple[float, float], F64]:
    """The linear WCS that the observatory holds for an array: 1-based CRPIX, arcsec per pixel (2, 2).

    It is the best affine map to the static frame, off by pixels and parts in a thousand; array 4's, which the
    pointing refers to, is nearly right.
    """
    y, x = (a.ravel().astype(float) for a in np.mgrid[1 : SIZE + 1 : 64, 1 : SIZE + 1 : 64])
    sx, sy = pixel_to_static(index, x, y)
    design = np.stack([np.ones_like(x), x, y], axis=1)
    fit = np.linalg.lstsq(design, np.stack([sx, sy], axis=1), rcond=None)[0]
    matrix = np.asarray(fit[1:].T)
    pixel = np.linalg.solve(matrix, np.array(field_centre()) - fit[0])
    if index == 3:
        return POINTING_PIXEL, matrix
    rng = np.random.default_rng([20170505, index])
    pixel = pixel + rng.uniform(-3.0, 3.0, 2)
    return (float(pixel[0]), float(pixel[1])), matrix * (1.0 + 1e-3 * rng.uniform(-1.0, 1.0))


def _sexagesimal(hours: float) -> str:
    """Signed HH:MM:SS.ss."""
    total = abs(hours) * 3600.0
    return (
        f"{'-' if hours < 0 else '+'}{int(total // 3600):02d}:{int(total // 60) % 60:02d}:{total % 60:05.2f}"
    )
