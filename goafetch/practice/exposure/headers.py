"""Headers of a raw GSAOI file, card by card in the order of real ones, with the habits of their epoch."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from goafetch.practice.exposure.detector import READ_MODES, Array
from goafetch.practice.exposure.epochs import header_wcs
from goafetch.practice.exposure.night import Conditions, Exposure
from goafetch.practice.exposure.optics import LONGITUDE, Pointing, read_data, sky_to_instrument
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
#: Steps of the upper wheel at some filters.
UPPER_WHEEL = {"Clear": 200, "Z_G1101": 4267, "J_G1102": 8933, "Kshort_G1105": 23533, "Blocked1_G1114": 64933}
#: Amplifiers of an array and the columns that each reads; the upper arrays are turned upside down.
AMPLIFIERS = (("A", 1, 512), ("B", 1024, 513), ("C", 1025, 1536), ("D", 2048, 1537))
MJD_ZERO = datetime(1858, 11, 17, tzinfo=UTC)


def primary_cards(exposure: Exposure, conditions: Conditions) -> list[Card]:
    """The primary header's cards, in order."""
    cards = [
        *_program_cards(exposure),
        *_target_cards(exposure, exposure.pointing()),
        *_pointing_cards(exposure),
        *_guider_cards(exposure),
        *_lamp_cards(exposure),
        *_weather_cards(),
        *_wheel_cards(exposure),
        *_detector_cards(exposure),
        *_read_cards(exposure),
        *_loop_cards(exposure.kind == "science"),
        *_end_cards(exposure, conditions),
    ]
    missing = OFFSETS if "no offsets" in exposure.trouble else ()
    return [card for card in cards if card[0] not in missing]


def _program_cards(exposure: Exposure) -> list[Card]:
    kind = {"dark": "DARK", "mask": "BPM"}.get(exposure.kind, "FLAT" if exposure.gcal else "OBJECT")
    return [
        ("COMMENT", "FITS (Flexible Image Transport System) format is defined in 'Astronomy", ""),
        ("COMMENT", "and Astrophysics', volume 376, page 359; bibcode: 2001A&A...376..359H", ""),
        ("INSTRUME", "GSAOI", "Instrument used to acquire data"),
        ("OBJECT", exposure.target, "Object Name"),
        ("OBSTYPE", kind, "Observation type"),
        ("OBSCLASS", CLASSES[exposure.kind], "Observe class"),
        ("GEMPRGID", exposure.program, "Gemini programme ID"),
        ("OBSID", exposure.observation, "Gemini Observation ID"),
        ("DATALAB", f"{exposure.observation}-{exposure.number:03d}", "Gemini Datalabel"),
        ("OBSERVER", "V. Observer", "Observer"),
        ("OBSERVAT", "Gemini-South", "Observatory (Gemini-North|Gemini-South)"),
        ("TELESCOP", "Gemini-South", "Name of telescope (Gemini-North|Gemini-South)"),
        ("SSA", "S. Specialist", "SSA"),
    ]


def _target_cards(exposure: Exposure, where: Pointing) -> list[Card]:
    at_rest = exposure.at_rest
    sidereal = (where.hour_angle + exposure.ra if exposure.field else _sidereal(exposure)) / 15.0
    micron = read_data("filters")["filter_wavelength_um"].get(exposure.filter_name, 2.2)
    roll = (where.parallactic - exposure.position_angle + 540.0) % 360.0 - 180.0
    # In declination arcsec, in right ascension seconds of time a second; at rest that is the sidereal rate.
    east, north = exposure.rate
    rates = (north, east / 15.0 / math.cos(math.radians(exposure.dec)))
    rates = (0.0085083874064, 1.00206982996) if at_rest else rates
    return [
        ("PARALLAX", 0.0, "Target Parallax"),
        ("RADVEL", 0.0, "Target Heliocentric Radial Velocity"),
        ("EPOCH", 2000.0, "Target Coordinate Epoch"),
        ("EQUINOX", 0.0 if at_rest else 2000.0, "Equinox of coordinate system"),
        ("TRKEQUIN", 2000.0, "Tracking equinox"),
        ("RA", exposure.ra, "Target Right Ascension"),
        ("DEC", exposure.dec, "Target Declination"),
        ("ELEVATIO", where.elevation, "Telescope Elevation at the start of exposure"),
        ("AZIMUTH", where.azimuth, "Telescope Azimuth at the start of exposure"),
        ("CRPA", roll, "Cass Rotator Position Angle at start"),
        ("HA", _sexagesimal(where.hour_angle / 15.0), "Telescope hour angle at the start of exposure"),
        ("LT", _clock(exposure.begin - timedelta(hours=3)), "Local time at start of exposure"),
        ("TRKFRAME", "FK5", "Tracking co-ordinate"),
        ("DECTRACK", rates[0], "Differential tracking rate Dec"),
        ("TRKEPOCH", round(_mjd(exposure.begin) - 0.01, 6), "Differential tracking reference epoch"),
        ("RATRACK", rates[1], "Differential tracking rate RA"),
        ("FRAME", "AZEL_TOPO" if at_rest else "FK5", "Target coordinate system"),
        ("PMDEC", 0.0, "Target proper motion in Declination"),
        ("PMRA", 0.0, "Target proper motion in RA"),
        ("WAVELENG", round(micron * 1e4, 1), "Effective Target Wavelength (A)"),
        *_raw_cards(),
        ("CGUIDMOD", "Basic", "Driving mode for carousel"),
        ("UT", _clock(exposure.begin), "UTC at start of exposure"),
        ("DATE", exposure.begin.strftime("%Y-%m-%d"), "UTC Date of observation (YYYY-MM-DD)"),
        ("M2BAFFLE", "VISIBLE" if at_rest else "RETRACTED", "Position of M2 baffle"),
        ("M2CENBAF", "CLOSED" if at_rest else "OPEN", "Position of M2 central hole baffle"),
        ("ST", _sexagesimal(sidereal % 24.0)[1:-1], "Sidereal time at the start of the exposure"),
    ]


def _raw_cards() -> list[Card]:
    return [
        ("RAWIQ", "70-percentile", "Raw Image Quality"),
        ("RAWCC", "50-percentile", "Raw Cloud Cover"),
        ("RAWWV", "Any", "Raw Water Vapour/Transparency"),
        ("RAWBG", "Any", "Raw Background"),
        ("RAWPIREQ", "YES", "PI Requirements Met"),
        ("RAWGEMQA", "USABLE", "Gemini Quality Assessment"),
    ]


def offsets_pq(exposure: Exposure) -> tuple[float, float]:
    """The offset along the instrument's P (east at position angle 0) and Q (north), arcsec."""
    angle = math.radians(exposure.position_angle)
    east, north = exposure.offset
    return (
        east * math.cos(angle) - north * math.sin(angle),
        east * math.sin(angle) + north * math.cos(angle),
    )


def _pointing_cards(exposure: Exposure) -> list[Card]:
    p, q = offsets_pq(exposure)
    east, north = exposure.offset
    if exposure.epoch.offset_sign < 0:
        turn = math.radians(exposure.position_angle)
        east, north = (
            -p * math.cos(turn) + q * math.sin(turn),
            -q * math.cos(turn) - p * math.sin(turn),
        )
    adaptive = "IN" if exposure.field else "park-pos."
    guided = "guiding" if exposure.kind == "standard" else "parked"
    cards: list[Card] = [
        ("XOFFSET", round(-p, 5), "Telescope offset in x in arcsec"),
        ("YOFFSET", round(-q, 5), "Telescope offset in y in arcsec"),
        ("POFFSET", round(p, 5), "Telescope offset in p in arcsec"),
        ("QOFFSET", round(q, 5), "Telescope offset in q in arcsec"),
        ("RAOFFSET", round(east, 5), "Telescope offset in RA in arcsec"),
        ("DECOFFSE", round(north, 5), "Telescope offset in DEC in arcsec"),
        ("RATRGOFF", 0.0, "Target offset in RA in arcsec"),
        ("DECTRGOF", 0.0, "Target offset in DEC in arcsec"),
        ("PA", exposure.position_angle, "Instrument Position Angle at start (degrees)"),
        ("IAA", 0.959 if exposure.port == 1 else 89.7, "Instrument Alignment Angle"),
        ("SFRT2", -90.14, "Science fold rotation angle (degrees)"),
        ("SFTILT", -44.83, "Science fold tilt angle (degrees)"),
        ("SFLINEAR", -8.9, "Science fold linear position (mm)"),
        ("AOFOLD", adaptive, "AO Pick-Off Mirror Position"),
        ("PWFS1_ST", guided, "PWFS1 probe state (frozen,guiding,parked)"),
        ("PWFS2_ST", "parked", "PWFS2 probe state (frozen,guiding,parked)"),
        ("OIWFS_ST", "parked", "OIWFS probe state (frozen,guiding,parked)"),
        ("AOWFS_ST", "parked", "AOWFS probe state (frozen,guiding,parked)"),
    ]
    if exposure.epoch.band:
        band = -9999 if "-CAL" in exposure.program else 1
        cards.append(("SCIBAND", band, "Science Ranking Band"))
    cards += [
        ("REQIQ", "70-percentile", "Requested Image Quality"),
        ("REQCC", "50-percentile", "Requested Cloud Cover"),
        ("REQBG", "Any", "Requested Background"),
        ("REQWV", "Any", "Requested Water Vapour"),
    ]
    if exposure.epoch.timing:
        cards.append(("NUMREQTW", 0, "Number of Requested Timing Window REQTW entries"))
    return cards


def _star_cards(key: str, name: str, exposure: Exposure) -> list[Card]:
    """A guide star of the adaptive optics, GWFSn."""
    return [
        (f"{key}CFG", name, "WFS Guide star configuration"),
        (f"{key}OBJ", "499-048382", "WFS guide star object name"),
        (f"{key}RA", exposure.ra, "WFS guide star RA"),
        (f"{key}DEC", exposure.dec, "WFS guide star DEC"),
        (f"{key}RV", 0.0, "WFS guide star heliocentric velocity"),
        (f"{key}EPC", 2000.0, "WFS guide star coordinates epoch"),
        (f"{key}EQN", 2000.0, "WFS guide star coordinates equinox"),
        (f"{key}FRM", "FK5", "WFS guide star coordinate system"),
        (f"{key}PMD", 0.0, "WFS guide star proper motion in declination"),
        (f"{key}PMR", 0.0, "WFS guide star proper motion in RA"),
        (f"{key}PAR", 0.0, "WFS guide star parallax"),
        (f"{key}WAV", 6500.0, "WFS guide effective target wavelength"),
    ]


def _guider_cards(exposure: Exposure) -> list[Card]:
    if exposure.kind == "science":
        return [card for n in (1, 2, 3) for card in _star_cards(f"GWFS{n}", f"TTGS{n}", exposure)]
    if exposure.kind != "standard":
        return []
    return [
        ("P1ARA", exposure.ra, "RA of PWFS1 guide star"),
        ("P1ARV", 0.0, "PWFS1 Heliocentric Radial Velocity"),
        ("P1AWAVEL", 6500.0, "PWFS1 Effective Target Wavelength"),
        ("P1ADEC", exposure.dec + 0.1, "Declination of PWFS1 guide star"),
        ("P1AEPOCH", 2000.0, "Epoch for PWFS1 guide star coordinates"),
        ("P1AEQUIN", 2000.0, "Equinox for PWFS1 guide star coordinates"),
        ("P1AFRAME", "FK5", "PWFS1 Target coordinate system"),
        ("P1AOBJEC", "194-007803", "Object Name for PWFS1 guide star"),
        ("P1APMDEC", -0.0089, "PWFS1 Proper Motion in Declination"),
        ("P1APMRA", -6.0e-05, "PWFS1 Proper Motion in RA"),
        ("P1APARAL", 0.0, "PWFS1 Parallax of Target"),
        ("P1FOCUS", 0.0, "PWFS1 Focus Offset (mm)"),
        ("P1FREQ", 20.0, "PWFS1 sampling frequency (Hz)"),
    ]


def _lamp_cards(exposure: Exposure) -> list[Card]:
    if not exposure.gcal:
        return []
    shutter = "OPEN" if exposure.kind == "lamp-on" else "CLOSED"
    return [
        ("GCALLAMP", "IRhigh", "GCAL Lamp name"),
        ("GCALFILT", "ND2.0", "GCAL Filter name"),
        ("GCALDIFF", "IR", "GCAL Diffuser name"),
        ("GCALSHUT", shutter, "GCAL Shutter (OPEN or CLOSED)"),
    ]


def _weather_cards() -> list[Card]:
    return [
        ("HUMIDITY", 17.0, "The relative humidity (fraction, 0..101)."),
        ("TAMBIENT", 10.9, "The ambient temp (C)."),
        ("TAMBIEN2", 51.62, "The ambient temp (F)."),
        ("PRESSURE", 546.20384, "The atmospheric pressure (mm Hg)."),
        ("PRESSUR2", 72800.0, "The atmospheric pressure (Pa)."),
        ("DEWPOINT", -13.5, "The dew point (C)."),
        ("DEWPOIN2", 7.7, "The dew point (F)."),
        ("WINDSPEE", 6.9, "The wind speed (m/s)."),
        ("WINDSPE2", 15.4353, "The wind speed (mph)."),
        ("WINDDIRE", 303.0, "The wind direction (degrees)."),
    ]


def _wheel_cards(exposure: Exposure) -> list[Card]:
    unknown = bool({"unknown filter", "lost filter"} & exposure.trouble)
    turning = "lost filter" in exposure.trouble or exposure.filter2 != "Clear"
    utility, state = exposure.epoch.utility
    cover = 10 if exposure.kind == "dark" else 9300
    return [
        ("INPORT", exposure.port, "Number of ISS port where instrument is located"),
        ("FILTER1", exposure.filter1, "Upper filter wheel component in beam"),
        ("FILT1POS", UPPER_WHEEL.get(exposure.filter1, 1650), "Upper filter wheel engineering position"),
        ("FILT1CAR", "GOOD", "Upper filter wheel combined CAR state"),
        ("FILTER2", "Unknown" if unknown else exposure.filter2, "Lower filter wheel component in beam"),
        ("FILT2POS", 3120 if turning else exposure.epoch.clear, "Lower filter wheel engineering position"),
        ("FILT2CAR", "GOOD", "Lower filter wheel combined CAR state"),
        ("UTLWHEEL", "Clear", "Utility wheel component in beam"),
        ("UTLWPOS", utility, "Utility wheel engineering position"),
        ("UTLWCAR", state, "Utility wheel combined CAR state"),
        ("COVER", "CLOSED" if exposure.kind == "dark" else "OPEN", "Cover status"),
        ("CVERPOS", cover, "Cover engineering position"),
        ("CVERCAR", "GOOD", "Cover combined CAR state"),
        ("CWSTEMP", 70.0, "Cold work surface temperature"),
        ("DETTEMP", 70.0, "Detector temperature"),
        ("DETHTEMP", 65.0, "Detector housing temperature"),
        ("DEWPRES", 1.14e-08, "Dewar pressure"),
    ]


def _detector_cards(exposure: Exposure) -> list[Card]:
    early = exposure.epoch.mjd_early
    start = 0.0 if early is None else round(_mjd(exposure.begin) - early / 86400.0, 6)
    return [
        ("DATE-OBS", exposure.begin.strftime("%Y-%m-%d"), "UT Date of observation (YYYY-MM-DD)"),
        ("TIME-OBS", _clock(exposure.begin), "UT Time of observation"),
        ("MJD-OBS", start, "MJD of start of observation"),
        ("SAMPMODE", "FOWLER", "Read method"),
        ("EXPMODE", "NONDESTRUCTIVE", "Read mode"),
        ("NRESETS", 1, "Number of resets btw each exposure"),
        ("RSTDLAY", 0.0, "Reset delay (seconds)"),
        ("READTIME", 5.3, "Read time"),
        ("BUNIT", "ADU", "Units of quantity read from detector array"),
        ("DCNAME", "GSAOI DC", "Detector controller name"),
        ("DCHLTH", "GOOD", "Detector controller health"),
        ("DCSIM", "NONE", "Detector controller simulation mode"),
        ("DSPTIMBN", "tim.lod", "SDSU timing board DSP code"),
        ("DSPTIMBV", exposure.epoch.dsp, "SDSU timing board DSP code version"),
        ("DSPPCIN", "pci.lod", "SDSU PCI board DSP code"),
        ("DSPPCIV", exposure.epoch.dsp, "SDSU PCI board DSP code version"),
        ("DETSIZE", "[1:4096,1:4096]", "Detector size"),
        ("DETECTOR", "GSAOI", "Detector"),
        ("NCCDS", 4, "Number of CCD chips"),
        ("NAMPS", 16, "Number of Amplifiers in this image"),
        ("NEXTEND", 4, "Number of standard extensions"),
        ("READMODE", "FOWLER", "Detector Readout mode"),
    ]


def _read_cards(exposure: Exposure) -> list[Card]:
    """ELAPSED is that of one coadd, UTEND the end of all."""
    read = 5.27849082 if exposure.size > SIZE // 2 else 2.63926394
    begin = exposure.begin + timedelta(seconds=6.0)
    reading = exposure.coadds * read * exposure.samples / 2
    end = begin + timedelta(seconds=duration(exposure) + reading)
    elapsed = duration(exposure) / exposure.coadds + exposure.epoch.overhead
    return [
        ("RDTIME", read, "integration time (seconds)"),
        ("COADDS", exposure.coadds, "Number of coadds"),
        ("LNRS", exposure.samples, "Number of Non-destructive reads"),
        ("EXPTIME", exposure.exptime, "Exposure time requested (seconds)"),
        ("UTSTART", _clock(begin), "UT at observation start"),
        ("UTEND", _clock(end), "UT at observation end"),
        ("ELAPSED", elapsed, "Time from reset to final NDR of 1st pixel (seconds)"),
        ("READDLAY", 12.4, "Read interval (seconds)"),
        ("CRFOLLOW", "INDEF", "Cass Rotator follow mode"),
    ]


def _loop_cards(guided: bool) -> list[Card]:
    state = "CLOSED" if guided else "OPEN"
    layers = ("from 0 to 0.8km", "from 0.8 to 4.0km", "from 4.0 to 7.1km", "from 7.1 to 9.6km",
              "from 9.6 to 11km", "higher than 11km")  # fmt: skip
    cards: list[Card] = [
        ("GEMSSADC", "OFF", "GeMS Science ADC"),
        ("GEMSDICH", 1.0, "GeMS dichroic beamspliter (microns)"),
        ("GEMSASTR", "regular", "GeMS Astrometric correction"),
        ("GEMSNADC", "OFF", "GeMS NGS WFS ADC"),
        *((f"LGWFS{n}CT", 60.0 if guided else 1.0, f"Total counts in LGWFS{n} at end of exposure")
          for n in range(1, 6)),
        ("SFSFOCUS", 0.0, "SFS focus at the end of the exposure"),
        ("SFSCTNS", 0.0, "SFS counts at the end of exposure"),
        ("LGSLOOP", state, "Status of the LGS loop"),
        ("TTLOOP", state, "Status of the tip-tilt loop"),
        ("FOCLOOP", state, "Status of the Slow Focus loop"),
        ("FLEXLOOP", "OPEN", "Status of the flexure loop"),
        ("LGSSTRHL", 0.0, "Strehl estimate from the LGS in H-band"),
        ("RZEROVAL", 12.0 if guided else 2.0, "r0 value at 500nm in cm"),
        *((f"CNSQARE{n}", 0.0, f"Cn2 value for altitude {layer}") for n, layer in enumerate(layers, 1)),
    ]  # fmt: skip
    counts = (
        (f"GWFS{n}CTS", 6900.0, f"APD/Detector counts in WFS{n} at the end of exposure") for n in (1, 2, 3)
    )
    return [*cards, *counts] if guided else cards


def _end_cards(exposure: Exposure, conditions: Conditions) -> list[Card]:
    airmass = conditions.airmass
    cards: list[Card] = [
        ("AIRMASS", round(airmass, 3), "Mean airmass for the exposure"),
        ("AMSTART", max(1.0, round(airmass - 1e-3, 3)), "Airmass at start of exposure"),
        ("AMEND", round(airmass + 1e-3 * bool(exposure.field), 3), "Airmass at end of exposure"),
    ]
    if exposure.epoch.timing:
        cards.append(("PROP_MD", exposure.coordinates_withheld, "Proprietary Metadata"))
    return [*cards, ("RELEASE", exposure.release, "End of proprietary period YYYY-MM-DD")]


def array_cards(exposure: Exposure, array: Array) -> list[Card]:
    """The cards of one array's extension: sections, amplifiers, a WCS that is only nearly right, gain."""
    stated, index = stated_region(exposure.size), array.index
    x1, y1, x2, y2 = stated.x0 + 1, stated.y0 + 1, stated.x0 + stated.nx, stated.y0 + stated.ny
    dx, dy = DETECTOR_ORIGIN[index]
    amplifiers = _amplifiers(index, stated)
    detector = (
        ("DETSEC", f"[{x1 + dx}:{x2 + dx},{y1 + dy}:{y2 + dy}]", "Detector section (wrt mosaic)"),
        ("DATASEC", f"[1:{stated.nx},1:{stated.ny}]", "Current datasection of the frame"),
    )
    name = exposure.epoch.frame_name.format(name=exposure.name, array=index + 1)
    cards: list[Card] = [
        ("INHERIT", False, "inherit the primary header"),
        ("CCDNAME", f"G{index + 1}", "Array name"),
        ("CCDSIZE", "[1:2048,1:2048]", "Array dimensions"),
        ("CCDSUM", "1 1", "Array binning"),
        ("CCDSEC", f"[{x1}:{x2},{y1}:{y2}]", "Array section"),
        *amplifiers[:2],
        *detector,
        *amplifiers[2:],
        *(_wcs_cards(exposure, index, stated) if exposure.kind != "mask" else []),
        ("ARRAYID", array.name, "Array serial number"),
        ("FRMNAME", name, "Name assigned to a data frame"),
        ("FRAMEID", f"{index}", "GSAOI Frame identifier"),
        ("DATATYP", "Intensity", "Type of data frame"),
    ]
    if exposure.epoch.gains and exposure.kind != "mask":
        noise = array.read_noise[READ_MODES[exposure.samples]]
        gain: list[Card] = [
            ("GAIN", _single(array.gain), "Gain (e-/ADU)"),
            ("RDNOISE", _single(noise), "Read noise (e-)"),
        ]
        cards += gain
    return cards


def _amplifiers(index: int, region: Region) -> list[Card]:
    """Name and section of each amplifier that reads a region."""
    first, last = region.x0 + 1, region.x0 + region.nx
    cards: list[Card] = []
    for name, start, end in AMPLIFIERS:
        left, right = max(min(start, end), first), min(max(start, end), last)
        if left > right:
            continue
        number = len(cards) // 2 + 1
        near, far = (left, right) if start < end else (right, left)
        low, high = region.y0 + 1, region.y0 + region.ny
        if index >= 2:  # turned: the first amplifier reads the last columns from the top
            near, far, low, high = SIZE + 1 - near, SIZE + 1 - far, SIZE + 1 - low, SIZE + 1 - high
        told = "C" if name == "D" and index else name
        section = f"[{near}:{far},{low}:{high}]"
        cards += [
            (f"AMPNAME{number}", told, f"Amplifier {number} name"),
            (f"AMPSEC{number}", section, f"Amplifier {number} section"),
        ]
    return cards


def _wcs_cards(exposure: Exposure, index: int, region: Region) -> list[Card]:
    wcs = header_wcs(exposure.epoch.since)
    ra, dec = reference_position(exposure)
    if "wrong wcs" in exposure.trouble:
        ra, dec = exposure.ra + 0.0061, exposure.dec - 0.0047
    turn = sky_to_instrument(math.radians(exposure.position_angle), exposure.port).T
    cd = turn @ wcs.matrices[index] / 3600.0
    origin = np.array([region.x0, region.y0], float)
    if exposure.epoch.window_of == "DETSEC":
        origin += DETECTOR_ORIGIN[index] if region.nx < SIZE else (0, 0)
    pixel = np.array(wcs.pixels[index]) - origin
    scales = 3600.0 * np.hypot(cd[0], cd[1])
    return [
        ("CTYPE1", "RA---TAN", "R.A. in tangent plane projection"),
        ("CTYPE2", "DEC--TAN", "DEC. in tangent plane projection"),
        ("CRPIX1", float(pixel[0]), "Ref pix of axis 1"),
        ("CRPIX2", float(pixel[1]), "Ref pix of axis 2"),
        ("CRVAL1", ra, "RA at Ref pix in decimal degrees"),
        ("CRVAL2", dec, "DEC. at Ref pix in decimal degrees"),
        ("CD1_1", float(cd[0, 0]), "partial of first axis coord w.r.t. x"),
        ("CD1_2", float(cd[0, 1]), "partial of first axis coord w.r.t. y"),
        ("CD2_1", float(cd[1, 0]), "partial of second axis coord w.r.t. x"),
        ("CD2_2", float(cd[1, 1]), "partial of second axis coord w.r.t. y"),
        ("RADECSYS", "FK5", "R.A./DEC. coordinate system reference"),
        ("XSCALE", float(scales[0]), "Pixel scale in X (in arcsec)"),
        ("YSCALE", float(scales[1]), "Pixel scale in Y (in arcsec)"),
    ]


def commanded_position(exposure: Exposure) -> tuple[float, float]:
    """Target plus offset, degrees."""
    return _moved((exposure.ra, exposure.dec), *exposure.offset)


def reference_position(exposure: Exposure) -> tuple[float, float]:
    """Where CRVAL stands, degrees: away from target plus offset by what the epoch's reference pixels need."""
    gap = np.subtract(header_wcs(exposure.epoch.since).reference, exposure.epoch.origin)
    turn = sky_to_instrument(math.radians(exposure.position_angle), exposure.port).T
    east, north = turn @ gap
    return _moved(commanded_position(exposure), float(east), float(north))


def _moved(place: tuple[float, float], east: float, north: float) -> tuple[float, float]:
    dec = place[1] + north / 3600.0
    return place[0] + east / 3600.0 / math.cos(math.radians(dec)), dec


def _single(value: float) -> float:
    """A number in single precision, to 15 digits."""
    return float(f"{float(np.float32(value)):.15g}")


def _sidereal(exposure: Exposure) -> float:
    """Local sidereal time at the start, degrees (Meeus, ch. 12)."""
    return (280.46061837 + 360.98564736629 * (_mjd(exposure.begin) - 51544.5) + LONGITUDE) % 360.0


def _mjd(moment: datetime) -> float:
    return (moment - MJD_ZERO).total_seconds() / 86400.0


def _clock(moment: datetime) -> str:
    """HH:MM:SS.s."""
    return moment.strftime("%H:%M:%S.") + f"{moment.microsecond // 100000}"


def _sexagesimal(hours: float) -> str:
    """Signed HH:MM:SS.ss."""
    total = abs(hours) * 3600.0
    return (
        f"{'-' if hours < 0 else '+'}{int(total // 3600):02d}:{int(total // 60) % 60:02d}:{total % 60:05.2f}"
    )
