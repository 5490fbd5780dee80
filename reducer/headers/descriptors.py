"""What a frame's headers say: tags and descriptors, with the names, units and values that Gemini uses."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from reducer.instruments import find_instrument
from reducer.instruments.base import Filter, Instrument, Levels
from reducer.keywords import (
    Keyword,
    Section,
    parse_date,
    parse_section,
    parse_time,
    percentile,
    quality,
    read,
    read_angle,
    scale,
    without_id,
    years_since_epoch,
)
from reducer.types import Header

# --- tags: RAW, FLAT, LAMPON, SIDEREAL ... ---------------------------------------------------------

#: Keywords that a finished calibration carries (DRAGONS, gemini_instruments/gemini/adclass.py).
PROCESSED_CALIBRATION = frozenset(
    {
        "PROCARC", "GBIAS", "PROCBIAS", "PROCDARK", "GIFLAT", "GIFLAG", "PROCFLAT",
        "GIFRINGE", "PROCFRNG", "PROCSTND", "PROCSRSP", "PROCPNHL", "PROCILLM"
    }
)  # fmt: skip
PROCESSED_SCIENCE = frozenset({"GMOSAIC", "PROCSCI"})
#: Lamps of the calibration unit that make flats, by how their names begin.
FLAT_LAMPS = ("IRHIGH", "IRLOW", "QH")
#: Instruments that take spectra alone, and how the headers of others tell a spectrum.
SPECTROGRAPHS = frozenset({"NIFS", "GHOST", "GRACES", "IGRINS", "IGRINS-2", "BHROS", "PHOENIX", "MAROON-X"})
SPECTRUM: Mapping[str, Callable[[Header], bool]] = {
    "F2": lambda header: _text(header, "GRISM") not in ("", "OPEN"),
    "GNIRS": lambda header: _text(header, "ACQMIR") == "OUT",
    "NIRI": lambda header: "GRISM" in _text(header, "FILTER3"),
    "GMOS": lambda header: _text(header, "GRATING") not in ("", "MIRROR"),
}
#: Time stamps of a preparation: DRAGONS and goafetch, the older gaprepare, any Gemini package.
PREPARED_BY = ("PREPARE", "GAPREPAR", "GPREPARE")

#: The tags that a frame may have, besides the name of its instrument.
TAGS = frozenset(
    {
        "GEMINI", "NORTH", "SOUTH", "IMAGE", "SPECT", "CAL", "DARK", "FLAT", "BPM", "DOMEFLAT", "TWILIGHT",
        "GCALFLAT", "GCAL_IR_ON", "GCAL_IR_OFF", "LAMPON", "LAMPOFF", "ACQUISITION", "AZEL_TARGET",
        "AT_ZENITH", "SIDEREAL", "NON_SIDEREAL", "RAW", "PREPARED", "UNPREPARED", "PROCESSED",
        "PROCESSED_SCIENCE",
    }
)  # fmt: skip

#: What a bad-pixel mask is not, whatever else its header says.
NOT_OF_A_MASK = frozenset(
    {
        "IMAGE", "FLAT", "DOMEFLAT", "GCALFLAT", "GCAL_IR_ON", "GCAL_IR_OFF", "PREPARED", "LAMPON", "LAMPOFF",
        "DARK", "NON_SIDEREAL", "AZEL_TARGET",
    }
)  # fmt: skip


def tags(primary: Header, chips: Sequence[Header] = ()) -> frozenset[str]:
    """The tags of a frame, from its primary header (the headers of the arrays decide nothing).

    The rules are those of DRAGONS (gemini_instruments, gemini/adclass.py and gsaoi/adclass.py), so that
    the words mean the same here.
    """
    observatory, telescope = _text(primary, "OBSERVAT"), _text(primary, "TELESCOP")
    observed, target = _text(primary, "OBSTYPE"), _text(primary, "OBJECT")
    instrument = _text(primary, "INSTRUME").removesuffix("-N").removesuffix("-S")
    is_spectrum = instrument in SPECTROGRAPHS or (instrument in SPECTRUM and SPECTRUM[instrument](primary))
    is_dome, is_twilight = "DOMEFLAT" in target, "TWILIGHT" in target and "DOMEFLAT" not in target
    is_lamp = _text(primary, "GCALLAMP").startswith(FLAT_LAMPS)
    is_flat = observed == "FLAT" or is_dome or is_twilight or is_lamp
    is_calibration = any(key in primary for key in PROCESSED_CALIBRATION)
    is_science = any(key in primary for key in PROCESSED_SCIENCE) and observed == "OBJECT"
    is_prepared = any(key in primary for key in PREPARED_BY)
    # The shutter of the calibration unit says whether its light came through.
    shutter = _text(primary, "GCALSHUT") if is_lamp and not is_calibration else ""
    is_tracked = bool({_text(primary, "FRAME"), _text(primary, "TRKFRAME")} & {"FK5", "APPT"})
    follows_the_sky = read(primary, "RATRACK", float) == 0 == read(primary, "DECTRACK", float)
    is_level = _text(primary, "FRAME") == "AZEL_TOPO"
    holds = {
        instrument: True,
        observatory.partition("GEMINI-")[2]: observatory.startswith("GEMINI-"),
        "GEMINI": bool({observatory, telescope} & {"GEMINI-NORTH", "GEMINI-SOUTH"}),
        "SPECT": is_spectrum,
        "IMAGE": not is_spectrum and observed != "DARK",
        "DARK": observed == "DARK",
        "FLAT": is_flat,
        "CAL": is_flat or observed == "DARK",
        "DOMEFLAT": is_dome,
        "TWILIGHT": is_twilight,
        "GCALFLAT": is_lamp,
        "GCAL_IR_ON": shutter == "OPEN",
        "GCAL_IR_OFF": shutter == "CLOSED",
        "LAMPON": shutter == "OPEN" or target == "DOMEFLAT",
        "LAMPOFF": shutter == "CLOSED" or target == "DOMEFLAT OFF",
        "ACQUISITION": _text(primary, "OBSCLASS") in ("ACQ", "ACQCAL"),
        "AZEL_TARGET": is_level,
        "AT_ZENITH": is_level and primary.get("AIRMASS") == 1.0,
        "SIDEREAL": is_tracked and follows_the_sky,
        "NON_SIDEREAL": is_tracked and not follows_the_sky,
        "PREPARED": is_prepared,
        "UNPREPARED": not is_prepared,
        "RAW": "GEM-TLM" not in primary and not is_science,
        "PROCESSED": is_calibration or is_science,
        "PROCESSED_SCIENCE": is_science,
    }
    found = {tag for tag, is_so in holds.items() if is_so and tag}
    if "BPMASK" in primary or "PROCBPM" in primary or observed == "BPM":
        found = (found - NOT_OF_A_MASK) | {"BPM", "CAL", "PROCESSED"}
    known = find_instrument(primary)
    return known.tags(primary, frozenset(found)) if known else frozenset(found)


def _text(header: Header, key: str) -> str:
    return str(header.get(key) or "").strip().upper()


# --- descriptors -----------------------------------------------------------------------------------

#: Array number 1..4 and the rectangle of the full array that was read: x1, x2, y1, y2, half-open.
Region = tuple[int, int, int, int, int]
#: From this UT date on RAOFFSET and DECOFFSE are P and Q turned by PA; at some time in 2014 the sign changed.
OFFSETS_TURNED_SINCE = dt.date(2015, 1, 1)


@dataclass(frozen=True)
class Descriptors:
    """All descriptors of one frame, each computed from the headers when it is asked for.

    Lists have one value per extension, in the order of the extensions. None means that the headers do not
    say. The definitions are those of DRAGONS (gemini_instruments, gemini/adclass.py and gsaoi/adclass.py).
    """

    primary: Header = field(repr=False)
    chips: tuple[Header, ...] = field(repr=False)
    filename: str = ""

    airmass = Keyword("AIRMASS", float, "Airmass.", low=1.0)
    azimuth = Keyword("AZIMUTH", float, "Azimuth of the telescope, degrees.")
    camera = Keyword("DETECTOR", str, "Name of the camera.")
    cass_rotator_pa = Keyword("CRPA", float, "Position angle of the Cassegrain rotator, degrees.", low=-360)
    data_label = Keyword("DATALAB", str, "Data label, unique to the exposure.")
    detector_name = Keyword("DETECTOR", str, "Name of the detector.")
    elevation = Keyword("ELEVATIO", float, "Elevation of the telescope, degrees.")
    exposure_time = Keyword("EXPTIME", float, "Exposure time of one coadd, seconds.", low=0.0)
    instrument = Keyword("INSTRUME", str, "Name of the instrument.")
    object = Keyword("OBJECT", str, "Name of the target as the observer wrote it.")
    observation_class = Keyword("OBSCLASS", str, "Class: science, partnerCal, dayCal, acq ...")
    observation_epoch = Keyword("OBSEPOCH", str, "Epoch of the observation.")
    observation_id = Keyword("OBSID", str, "Observation ID.")
    observation_type = Keyword("OBSTYPE", str, "Type: OBJECT (dome flats as well), DARK, FLAT, BPM.")
    position_angle = Keyword("PA", float, "Position angle of the field, degrees east of north.")
    program_id = Keyword("GEMPRGID", str, "Program ID.")
    read_mode = Keyword("READMODE", str, "Way of reading the arrays, FOWLER.")
    telescope = Keyword("TELESCOP", str, "Name of the telescope.")
    telescope_x_offset = Keyword("XOFFSET", float, "Offset along the telescope's x axis, arcsec.")
    telescope_y_offset = Keyword("YOFFSET", float, "Offset along the telescope's y axis, arcsec.")
    p_offset = Keyword("POFFSET", float, "Offset from the target along p, arcsec.")
    q_offset = Keyword("QOFFSET", float, "Offset from the target along q, arcsec.")
    ra_offset = Keyword(
        "RAOFFSET", float, "Offset by RAOFFSET, arcsec; its sign changed in 2014 (see sky_offset)."
    )
    dec_offset = Keyword(
        "DECOFFSE", float, "Offset by DECOFFSE, arcsec; its sign changed in 2014 (see sky_offset)."
    )
    port = Keyword("INPORT", int, "Port of the telescope at which the instrument is mounted.")

    # Time ---------------------------------------------------------------------------------------------

    @cached_property
    def ut_date(self) -> dt.date | None:
        """UT date at the start of the exposure (DATE-OBS)."""
        return parse_date(self.primary.get("DATE-OBS"))

    @cached_property
    def ut_time(self) -> dt.time | None:
        """UT time of day at the start of the exposure (UT, or the time in DATE-OBS)."""
        texts = [str(self.primary.get("DATE-OBS") or "").partition("T")[2]]
        texts += [str(self.primary.get(key) or "") for key in ("UT", "TIME-OBS", "UTSTART")]
        return next((time for time in map(parse_time, texts) if time is not None), None)

    @property
    def ut_datetime(self) -> dt.datetime | None:
        """UT at the start of the exposure, from DATE-OBS and UT; MJD-OBS is unreliable and never used."""
        if self.ut_date is None or self.ut_time is None:
            return None
        return dt.datetime.combine(self.ut_date, self.ut_time)

    @property
    def local_time(self) -> dt.time | None:
        """Local time of day at the telescope."""
        return parse_time(self.primary.get("LT"))

    # Filter and wavelength ----------------------------------------------------------------------------

    @cached_property
    def filter_name(self) -> str | None:
        """The filters of all wheels with component IDs, 'Kshort_G1105&Clear'.

        A wheel that says 'Unknown' at the position of Clear is Clear.
        """
        return self._rules.filter_name(self.primary) if self._rules else None

    @property
    def filter(self) -> str | None:
        """The filter as people say it: no component IDs, no Clear ('Kshort'); 'open' if all are Clear."""
        if self.filter_name is None:
            return None
        names = [without_id(name) for name in self.filter_name.split("&")]
        seen = [n for n in names if "Clear" not in n and "open" not in n.lower()] or ["open"]
        if any("Block" in name for name in names):
            seen.append("blank")
        return "&".join(seen[:2])

    @property
    def filter_is_known(self) -> bool:
        """False if a wheel was still moving and its position does not say where it stopped."""
        return self.filter_name is not None and "Unknown" not in self.filter_name.split("&")

    @property
    def passband(self) -> Filter | None:
        """What is known of its filter."""
        return self._rules.filters.get(self.filter or "") if self._rules else None

    @property
    def central_wavelength(self) -> float | None:
        """Central wavelength, metres."""
        angstrom = read(self.primary, "WAVELENG", float, 0.0)
        return None if angstrom is None else round(angstrom * 1e-10, 15)

    @property
    def effective_wavelength(self) -> float | None:
        """Effective wavelength of the filter, metres."""
        return None if self.passband is None else round(self.passband.wavelength * 1e-6, 12)

    @property
    def wavelength_band(self) -> str | None:
        """The broad band whose wavelength is nearest: Z, Y, X, J, H or K."""
        bands = {"Z": 0.9e-6, "Y": 1.02e-6, "X": 1.1e-6, "J": 1.2e-6, "H": 1.65e-6, "K": 2.2e-6}
        wavelength = self.effective_wavelength
        return None if wavelength is None else min(bands, key=lambda band: abs(bands[band] - wavelength))

    # Detector -----------------------------------------------------------------------------------------

    @property
    def array_name(self) -> list[str | None]:
        """Names of the arrays, 'H2RG-032-074' ..."""
        return [read(chip, "ARRAYID", str) for chip in self.chips]

    @property
    def array_section(self) -> list[Section | None]:
        """The part of its array that each extension claims (CCDSEC), zero-based half-open."""
        return [parse_section(chip.get("CCDSEC")) for chip in self.chips]

    @property
    def data_section(self) -> list[Section | None]:
        """The illuminated part of each extension's pixels (DATASEC), zero-based half-open."""
        return [parse_section(chip.get("DATASEC")) for chip in self.chips]

    @property
    def detector_section(self) -> list[Section | None]:
        """The place of each extension in the mosaic of arrays (DETSEC), zero-based half-open."""
        return [parse_section(chip.get("DETSEC")) for chip in self.chips]

    @cached_property
    def regions(self) -> tuple[Region, ...]:
        """What was read: array number 1..4 and the true x1, x2, y1, y2 of its full array, half-open.

        Empty for an image that is no longer on the pixels of the arrays.
        """
        if self._rules is None:
            return ()
        found = []
        for number, chip in zip(self._numbers, self.chips, strict=True):
            if number is not None:
                height, width = self._rules.arrays[number - 1].shape
                whole = (0, int(chip.get("NAXIS1") or width), 0, int(chip.get("NAXIS2") or height))
                found.append((number, *(self._rules.section(chip, number, self.ut_date) or whole)))
        return tuple(found)

    @property
    def scale_airmass(self) -> float | None:
        """Airmass at which stars are as bright as here: of a stack, that of its reference exposure."""
        return read(self.primary, "REFAIRM", float, 1.0) or self.airmass

    @property
    def coadds(self) -> int:
        """Number of exposures averaged or added up into one file."""
        return read(self.primary, "COADDS", int) or 1

    @property
    def is_coadds_summed(self) -> bool:
        """Whether the file holds the sum of its coadds, rather than their average."""
        return self._rules is not None and self._rules.coadds_are_summed

    @property
    def read_speed_setting(self) -> str:
        """'Bright Objects', 'Faint Objects', 'Very Faint Objects' or 'Unknown', by the number of reads."""
        return self._rules.read_mode(self.primary) if self._rules else "Unknown"

    @property
    def gain(self) -> list[float | None]:
        """Electrons per ADU."""
        return self._of_arrays("GAIN", lambda levels: levels.gain)

    @property
    def read_noise(self) -> list[float | None]:
        """Read noise of the average of all coadds, electrons."""
        if self.read_speed_setting == "Unknown":
            return [None for _ in self.chips]
        return self._of_arrays("RDNOISE", lambda levels: round(levels.read_noise / math.sqrt(self.coadds), 2))

    @property
    def saturation_level(self) -> list[float | None]:
        """Saturation level in the unit of the data: ADU, electrons in products."""
        return self._of_arrays("SATLEVEL", lambda levels: int(levels.well * self._stored_coadds))

    @property
    def non_linear_level(self) -> list[float | None]:
        """Level above which the response is not linear enough, in the unit of the data."""
        return self._of_arrays("NONLINEA", lambda levels: round(levels.non_linear * self._stored_coadds))

    @property
    def nominal_photometric_zeropoint(self) -> list[float | None]:
        """Magnitude of one unit (ADU or electron, as the data are) per second."""
        known = self.passband.zeropoints if self.passband else ()
        points = [known[number - 1] if number and known else None for number in self._numbers]
        if not self.is_in_adu:
            return points
        return [p - 2.5 * math.log10(g) if p and g else None for p, g in zip(points, self.gain, strict=True)]

    @property
    def is_in_adu(self) -> bool:
        """True unless the headers give another unit; BUNIT may stand in the primary header, or as BUNITS."""
        headers = (*self.chips[:1], self.primary)
        units = [read(header, key, str) for header in headers for key in ("BUNIT", "BUNITS")]
        return next((unit.upper() == "ADU" for unit in units if unit), True)

    @property
    def _stored_coadds(self) -> int:
        """How many coadds the counts of a raw file are the sum of."""
        return self.coadds if self.is_coadds_summed else 1

    @cached_property
    def _rules(self) -> Instrument | None:
        return find_instrument(self.primary)

    @cached_property
    def _numbers(self) -> list[int | None]:
        return self._rules.numbers(self.chips) if self._rules else [None for _ in self.chips]

    def _of_arrays(self, key: str, value: Callable[[Levels], float]) -> list[float | None]:
        """From the levels of the arrays; from the keyword in a file that has been prepared."""
        written = [read(chip, key, float) if "PREPARED" in self.tags else None for chip in self.chips]
        rules = self._rules
        known = [
            value(rules.levels(self.primary, number)) if rules and number else None
            for number in self._numbers
        ]
        return [w if w is not None else k for w, k in zip(written, known, strict=True)]

    # Sky ----------------------------------------------------------------------------------------------

    @property
    def wcs_ra(self) -> float | None:
        """Right ascension of the WCS's reference point (CRVAL1), degrees."""
        return self._reference("1", "RA---TAN")

    @property
    def wcs_dec(self) -> float | None:
        """Declination of the WCS's reference point (CRVAL2), degrees."""
        return self._reference("2", "DEC--TAN")

    def _reference(self, axis: str, kind: str) -> float | None:
        for header in (*self.chips[:1], self.primary):
            if "CRVAL" + axis in header and "CTYPE" + axis in header:
                return read(header, "CRVAL" + axis, float) if header["CTYPE" + axis] == kind else None
        return None

    @property
    def ra(self) -> float | None:
        """Right ascension by the WCS, else of the target (RA), degrees."""
        return self.wcs_ra if self.wcs_ra is not None else read_angle(self.primary, "RA", hours=True)

    @property
    def dec(self) -> float | None:
        """Declination by the WCS, else of the target (DEC), degrees."""
        return self.wcs_dec if self.wcs_dec is not None else read_angle(self.primary, "DEC")

    @property
    def target_ra(self) -> float | None:
        """Right ascension of the target at the time of the exposure, without offsets, degrees."""
        ra = read_angle(self.primary, "RA", hours=True)
        motion = read(self.primary, "PMRA", float)  # seconds of time a year
        if ra is None or not motion:
            return ra
        return ra + 15 * motion * years_since_epoch(self.primary, self.ut_datetime) / 3600

    @property
    def target_dec(self) -> float | None:
        """Declination of the target at the time of the exposure, without offsets, degrees."""
        dec = read_angle(self.primary, "DEC")
        motion = read(self.primary, "PMDEC", float)  # arcsec a year
        if dec is None or not motion:
            return dec
        return dec + motion * years_since_epoch(self.primary, self.ut_datetime) / 3600

    @property
    def sky_offset(self) -> tuple[float, float] | None:
        """Offset from the target, arcsec (east, north): P and Q turned by the position angle.

        They mean the same throughout; RAOFFSET and DECOFFSE changed their sign in 2014 and serve only from
        2015 on, where P, Q or the angle is missing.
        """
        p, q, angle = self.p_offset, self.q_offset, self.position_angle
        if p == q == 0:
            return (0.0, 0.0)
        if p is None or q is None or angle is None:
            known = self.ut_date is not None and self.ut_date >= OFFSETS_TURNED_SINCE
            east, north = self.ra_offset, self.dec_offset
            return (east, north) if known and east is not None and north is not None else None
        turn = math.radians(angle)
        return (p * math.cos(turn) + q * math.sin(turn), q * math.cos(turn) - p * math.sin(turn))

    @property
    def pointing(self) -> tuple[float, float] | None:
        """Where it looked, degrees (right ascension, declination): target and offset, else by the WCS.

        By the WCS it is the reference point, up to 9 arcsec from target and offset.
        """
        ra, dec, offset = self.target_ra, self.target_dec, self.sky_offset
        if ra is not None and dec is not None and offset is not None:
            north = dec + offset[1] / 3600
            return (ra + offset[0] / 3600 / math.cos(math.radians(north)), north)
        return None if self.wcs_ra is None or self.wcs_dec is None else (self.wcs_ra, self.wcs_dec)

    @property
    def pixel_scale(self) -> float | None:
        """Arcsec per pixel by the WCS, the mean of the extensions."""
        scales = [scale for scale in map(scale, self.chips) if scale is not None]
        return sum(scales) / len(scales) if scales else None

    @property
    def detector_x_offset(self) -> float | None:
        """Offset from the target along the arrays' x axis, pixels."""
        return self._detector_offset(0)

    @property
    def detector_y_offset(self) -> float | None:
        """Offset from the target along the arrays' y axis, pixels; of the sign that DRAGONS gives it."""
        return self._detector_offset(1)

    def _detector_offset(self, axis: int) -> float | None:
        offset = self._rules.detector_offset(self.primary)[axis] if self._rules else None
        return offset / self.pixel_scale if offset is not None and self.pixel_scale else None

    # Conditions, guiding, quality ---------------------------------------------------------------------

    @property
    def is_ao(self) -> bool:
        """True if the light came through the adaptive optics."""
        return str(self.primary.get("AOFOLD", "OUT")).strip() == "IN"

    @property
    def ao_seeing(self) -> float | None:
        """Natural seeing at 0.5 micron by the adaptive optics, arcsec: AOSEEING, else of Fried's length r0.

        0.98 wavelengths over RZEROVAL (centimetres), as DRAGONS derives it.
        """
        known, r0 = read(self.primary, "AOSEEING", float), read(self.primary, "RZEROVAL", float, 0.0)
        return known if known is not None or not r0 else 206265.0 * 0.98 * 0.5e-6 / (0.01 * r0)

    @property
    def wavefront_sensor(self) -> str | None:
        """The sensors that guided, joined by '&'."""
        keys = {"AOWFS": "AOWFS_ST", "OIWFS": "OIWFS_ST", "PWFS1": "PWFS1_ST", "PWFS2": "PWFS2_ST"}
        names = [name for name, key in keys.items() if self.primary.get(key) == "guiding"]
        names += self._rules.guided_by(self.primary) if self._rules else []
        return "&".join(sorted(names)) or None

    @property
    def qa_state(self) -> str:
        """Pass, Usable, Fail, CHECK or Undefined, from RAWPIREQ and RAWGEMQA."""
        return quality(*(str(self.primary.get(key, "UNKNOWN")) for key in ("RAWPIREQ", "RAWGEMQA")))

    raw_iq = Keyword("RAWIQ", percentile, "Image quality, percentile band.")
    raw_cc = Keyword("RAWCC", percentile, "Cloud cover, percentile band.")
    raw_wv = Keyword("RAWWV", percentile, "Water vapour, percentile band.")
    raw_bg = Keyword("RAWBG", percentile, "Sky background, percentile band.")

    requested_iq = Keyword("REQIQ", percentile, "Image quality asked for, percentile band.")
    requested_cc = Keyword("REQCC", percentile, "Cloud cover asked for, percentile band.")
    requested_wv = Keyword("REQWV", percentile, "Water vapour asked for, percentile band.")
    requested_bg = Keyword("REQBG", percentile, "Sky background asked for, percentile band.")

    @cached_property
    def tags(self) -> frozenset[str]:
        """The words that say what the frame is (see ``tags`` in this file)."""
        return tags(self.primary, self.chips)

    @property
    def group_id(self) -> str:
        """Equal for exposures that belong together."""
        of_flat = (self.filter, self.exposure_time, self.program_id)
        of_science = (self.observation_id, self.filter, self.exposure_time)
        sections = [chip.get("DETSEC") for chip in self.chips]
        first = of_flat if "FLAT" in self.tags else of_science
        return "_".join(str(part) for part in (*first, self.read_mode, sections))


def describe(primary: Header, chips: Sequence[Header], filename: str = "") -> Descriptors:
    """The descriptors of a frame from its primary header and the headers of its extensions.

    Of a product only the SCI extensions count; of a mask with DQ extensions alone, those.
    """
    images = [chip for chip in chips if chip.get("XTENSION", "IMAGE") == "IMAGE"]
    for name in ("SCI", "DQ"):
        named = [chip for chip in images if str(chip.get("EXTNAME", "")).strip().upper() == name]
        if named:
            return Descriptors(primary, tuple(named), filename)
    return Descriptors(primary, tuple(images), filename)


#: Every descriptor by name, with its meaning and unit.
MEANINGS: dict[str, str] = {
    name: (getattr(value, "__doc__", "") or "").strip().partition("\n")[0]
    for name, value in vars(Descriptors).items()
    if not name.startswith("_") and isinstance(value, Keyword | property | cached_property)
}
