"""The words that say what a frame is (RAW, FLAT, LAMPON, SIDEREAL ...), read from its headers alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from reducer.types import Header

#: Keywords that a finished calibration carries (DRAGONS, gemini_instruments/gemini/adclass.py).
PROCESSED_CALIBRATION = frozenset(
    {
        "PROCARC", "GBIAS", "PROCBIAS", "PROCDARK", "GIFLAT", "GIFLAG", "PROCFLAT",
        "GIFRINGE", "PROCFRNG", "PROCSTND", "PROCSRSP", "PROCPNHL", "PROCILLM",
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

#: What a bad-pixel mask is not, whatever else its header says.
NOT_OF_A_MASK = frozenset(
    {
        "IMAGE",
        "FLAT",
        "DOMEFLAT",
        "GCALFLAT",
        "GCAL_IR_ON",
        "GCAL_IR_OFF",
        "PREPARED",
        "LAMPON",
        "LAMPOFF",
        "DARK",
        "NON_SIDEREAL",
        "AZEL_TARGET",
    }
)


def tags(primary: Header, chips: Sequence[Header] = ()) -> frozenset[str]:
    """The tags of a frame, from its primary header (the headers of the arrays decide nothing).

    The rules are those of DRAGONS (gemini_instruments, gemini/adclass.py and gsaoi/adclass.py), so that
    the words mean the same here.
    """
    found = _origin(primary) | _kind(primary) | _pointing(primary) | _status(primary)
    if "DARK" in found:
        found -= {"IMAGE"}
    if _has_any(primary, ("BPMASK", "PROCBPM")) or _text(primary, "OBSTYPE") == "BPM":
        found = (found - NOT_OF_A_MASK) | {"BPM", "CAL", "PROCESSED"}
    return frozenset(found)


def _text(header: Header, key: str) -> str:
    return str(header.get(key) or "").strip().upper()


def _instrument(primary: Header) -> str:
    """Its name; GMOS for both of that name."""
    return _text(primary, "INSTRUME").removesuffix("-N").removesuffix("-S")


def _origin(primary: Header) -> set[str]:
    observatory, telescope = _text(primary, "OBSERVAT"), _text(primary, "TELESCOP")
    found = {_instrument(primary)} - {""}
    if {observatory, telescope} & {"GEMINI-NORTH", "GEMINI-SOUTH"}:
        found.add("GEMINI")
    if observatory.startswith("GEMINI-"):
        found.add(observatory.removeprefix("GEMINI-"))
    return found


def _kind(primary: Header) -> set[str]:
    observed, target = _text(primary, "OBSTYPE"), _text(primary, "OBJECT")
    found = {"SPECT" if _is_spectrum(primary) else "IMAGE"}
    if observed == "DARK":
        found |= {"DARK", "CAL"}
    if observed == "FLAT":
        found |= {"FLAT", "CAL"}
    if "DOMEFLAT" in target:
        found |= {"DOMEFLAT", "FLAT", "CAL"}
    elif "TWILIGHT" in target:
        found |= {"TWILIGHT", "FLAT", "CAL"}
    if target in ("DOMEFLAT", "DOMEFLAT OFF"):
        found.add("LAMPON" if target == "DOMEFLAT" else "LAMPOFF")
    found |= _calibration_lamp(primary)
    if _text(primary, "OBSCLASS") in ("ACQ", "ACQCAL"):
        found.add("ACQUISITION")
    return found


def _is_spectrum(primary: Header) -> bool:
    instrument = _instrument(primary)
    return instrument in SPECTROGRAPHS or (instrument in SPECTRUM and SPECTRUM[instrument](primary))


def _calibration_lamp(primary: Header) -> set[str]:
    """A flat by the calibration unit: the shutter says whether its light came through."""
    if not _text(primary, "GCALLAMP").startswith(FLAT_LAMPS):
        return set()
    lamp = {"OPEN": {"GCAL_IR_ON", "LAMPON"}, "CLOSED": {"GCAL_IR_OFF", "LAMPOFF"}}
    shutter = (
        set() if _has_any(primary, PROCESSED_CALIBRATION) else lamp.get(_text(primary, "GCALSHUT"), set())
    )
    return {"GCALFLAT", "FLAT", "CAL"} | shutter


def _pointing(primary: Header) -> set[str]:
    found = set()
    frames = {_text(primary, "FRAME"), _text(primary, "TRKFRAME")}
    if _text(primary, "FRAME") == "AZEL_TOPO":
        found.add("AZEL_TARGET")
        if primary.get("AIRMASS") == 1.0:
            found.add("AT_ZENITH")
    if frames & {"FK5", "APPT"}:
        found.add("SIDEREAL" if _tracks_the_sky(primary) else "NON_SIDEREAL")
    return found


def _tracks_the_sky(primary: Header) -> bool:
    """Both tracking rates are there and zero."""
    try:
        return float(primary["RATRACK"]) == 0 and float(primary["DECTRACK"]) == 0
    except (KeyError, TypeError, ValueError):
        return False


def _status(primary: Header) -> set[str]:
    found = {"PREPARED" if _has_any(primary, PREPARED_BY) else "UNPREPARED"}
    if "GEM-TLM" not in primary:
        found.add("RAW")
    if _has_any(primary, PROCESSED_CALIBRATION):
        found.add("PROCESSED")
    if _has_any(primary, PROCESSED_SCIENCE) and _text(primary, "OBSTYPE") == "OBJECT":
        found = (found | {"PROCESSED_SCIENCE", "PROCESSED"}) - {"RAW"}
    return found


def _has_any(primary: Header, keywords: Iterable[str]) -> bool:
    return any(keyword in primary for keyword in keywords)
