"""The words that the archive knows, as its own software lists them (FitsStorage gemini_metadata_utils)."""

from __future__ import annotations

import re


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


TELESCOPES = {"gemininorth": "Gemini-North", "geminisouth": "Gemini-South"}

OBSERVATION_TYPES = _words("OBJECT DARK ARC FLAT BIAS PINHOLE RONCHI CAL FRINGE MASK STANDARD SLITILLUM BPM")
OBSERVATION_CLASSES = _words("science acq acqCal dayCal partnerCal progCal nightCal")
PROCESSINGS = _words("Raw Quick-Look Science-Quality Quality-Assessment Failed")
REDUCTIONS = _words(
    "RAW PREPARED PROCESSED_FLAT PROCESSED_BIAS PROCESSED_FRINGE PROCESSED_ARC PROCESSED_DARK "
    "PROCESSED_TELLURIC PROCESSED_SCIENCE PROCESSED_BPM PROCESSED_STANDARD PROCESSED_SLITILLUM "
    "PROCESSED_PINHOLE PROCESSED_UNKNOWN"
)

# In the archive's own order: the tar of associated calibrations is sorted by it.
CALIBRATION_TYPES = _words(
    "bias processed_bias dark processed_dark processed_bpm flat processed_flat arc processed_arc pinhole "
    "processed_pinhole processed_fringe ronchi_mask lampoff_flat qh_flat domeflat lampoff_domeflat mask "
    "slitillum processed_slitillum processed_slit processed_slitflat standard processed_standard telluric "
    "processed_telluric polarization_standard astrometric_standard polarization_flat specphot "
    "photometric_standard"
)

GRATINGS = _words("MIRROR B480 B600 R600 R400 R831 R150 B1200")
MASKS = _words(
    "NS2.0arcsec IFU-R IFU-B focus_array_new Imaging 2.0arcsec NS1.0arcsec NS0.75arcsec 5.0arcsec "
    "1.5arcsec IFU-2 NS1.5arcsec 0.75arcsec 1.0arcsec 0.5arcsec"
)
GAINS = _words("high low standard")
READ_SPEEDS = _words("fast medium slow")
WELL_DEPTHS = _words("Shallow Deep Invalid")
READ_MODES = _words(
    "Classic NodAndShuffle Faint Faint_Object Faint_Objects Very_Faint_Objects Medium Medium_Object Bright "
    "Bright_Object Bright_Objects Very_Bright_Objects Low_Background Medium_Background High_Background"
)
_INSTRUMENT_NAMES = _words(
    "NIRI NIFS GMOS-N GMOS-S GMOS michelle GNIRS GHOST PHOENIX TEXES TReCS NICI IGRINS-2 IGRINS GSAOI OSCIR "
    "F2 GPI ABU bHROS hrwfs FLAMINGOS CIRPASS GRACES ALOPEKE ZORRO MAROON-X"
)
INSTRUMENTS = {name.lower(): name for name in _INSTRUMENT_NAMES}

_PLAIN_KEYS = _words(
    "filename filepre disperser camera pupil_mask filter az el ra dec sr crpa cenwlen exposure_time "
    "coadds publication PIname ProgramText raw_cc raw_iq raw_bg raw_wv gain readspeed date daterange night "
    "nightrange entrytimedaterange lastmoddaterange processing_tag readmode welldepth path cols"
)
# Word before '=' to the name of the criterion.
KEYS = {
    **{key: key for key in _PLAIN_KEYS},
    "mask": "focal_plane_mask",
    "Filter": "filter",
    "RA": "ra",
    "Dec": "dec",
    "SR": "sr",
    "azimuth": "az",
    "Azimuth": "az",
    "Az": "az",
    "elevation": "el",
    "Elevation": "el",
    "El": "el",
    "CRPA": "crpa",
}

FLAGS: dict[str, tuple[str, bool | str]] = {
    "imaging": ("spectroscopy", False),
    "spectroscopy": ("spectroscopy", True),
    **dict.fromkeys(("present", "Present"), ("present", True)),
    **dict.fromkeys(("notpresent", "NotPresent"), ("present", False)),
    **dict.fromkeys(("canonical", "Canonical"), ("canonical", True)),
    **dict.fromkeys(("notcanonical", "NotCanonical"), ("canonical", False)),
    "engineering": ("engineering", True),
    "notengineering": ("engineering", False),
    "includeengineering": ("engineering", "Include"),
    "science_verification": ("science_verification", True),
    "notscience_verification": ("science_verification", False),
    "calprog": ("calprog", True),
    "notcalprog": ("calprog", False),
    "site_monitoring": ("site_monitoring", True),
    "not_site_monitoring": ("site_monitoring", False),
    "photstandard": ("photstandard", True),
    "mdgood": ("mdready", True),
    "mdbad": ("mdready", False),
}
QA_STATES = _words("Pass Usable Fail CHECK UndefinedQA Win NotFail Lucky AnyQA")
REGIONS = {
    "fullframe": "Full Frame",
    "centralstamp": "Central Stamp",
    "centralspectrum": "Central Spectrum",
    "central768": "Central768",
    "central512": "Central512",
    "central256": "Central256",
    "custom": "Custom",
}
DEFAULTS: dict[str, bool | str] = {
    "engineering": False,
    "site_monitoring": False,
    "qa_state": "NotFail",
    "processing_tag": "default",
}

_SEMESTER = r"20\d\d[AB]"
_DAY = r"20\d\d[01]\d[0-3]\d"
# Some instruments' names have a hyphen: without them an observation's number would read as the program's.
_NAMES = r"(?:IGRINS-2|[A-Za-z][\w+]*(?:-[NSX])?)"
_PROGRAM = "|".join(
    (
        rf"G[NS]-{_SEMESTER}-(?:Q|C|SV|QS|DD|LP|FT|DS)-\d+",
        rf"G-{_SEMESTER}-\d+-[CDFLQSVP]",
        rf"G-{_SEMESTER}-(?:CAL|ENG|COM|MON)-{_NAMES}-\d+",
        rf"G[NS]-(?:CAL|ENG){_DAY}",
        rf"G[NS]-{_SEMESTER}-(?:CAL|ENG)-\d+",
        rf"(?:CAL|ENG){_DAY}",
    )
)
PROGRAM = re.compile(_PROGRAM)
OBSERVATION = re.compile(rf"(?:{_PROGRAM})-\d+")
DATA_LABEL = re.compile(rf"(?:{_PROGRAM})-\d+-\d+(?:-\w+)*")
FILE_NAME = re.compile(r"[NS]20\d\d[01]\d[0-3]\dS\d{4}[\d-]*\w*(?P<fits>\.fits)?")
MOS_MASK = re.compile(r"G[NS]?20\d\d[ABFDLWVSX].\d{3}-\d\d|G20\d\d[AB]\d{4}[CDFLQSV]-\d")
BINNING = re.compile(r"[1248]x[1248]")
FILE_PREFIX = re.compile(r"(?:N20[0-2]|S20).*")


def standard_name(word: str) -> str | None:
    """Give the FITS name (with ``.fits``, without ``.bz2``) meant by a word of the standard form, or None."""
    bare = word.removesuffix(".bz2")
    match = FILE_NAME.fullmatch(bare)
    if match is None:
        return None
    return bare if match["fits"] else f"{bare}.fits"
