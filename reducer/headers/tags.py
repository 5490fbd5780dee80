"""The words that say what a frame is (RAW, FLAT, LAMPON, SIDEREAL ...), read from its headers alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reducer.frame import Header

#: Keywords that a finished calibration carries (DRAGONS, gemini_instruments/gemini/adclass.py).
PROCESSED_CALIBRATION = frozenset(
    {
        "PROCARC", "GBIAS", "PROCBIAS", "PROCDARK", "GIFLAG", "PROCFLAT",
        "GIFRINGE", "PROCFRNG", "PROCSTND", "PROCSRSP",
    }
)  # fmt: skip
PROCESSED_SCIENCE = frozenset({"GMOSAIC", "PROCSCI"})
#: Time stamps of a preparation: DRAGONS and goafetch, the older gaprepare, any Gemini package.
PREPARED_BY = ("PREPARE", "GAPREPAR", "GPREPARE")

#: What a bad-pixel mask is not, whatever else its header says.
NOT_OF_A_MASK = frozenset(
    {
        "IMAGE",
        "FLAT",
        "DOMEFLAT",
        "PREPARED",
        "CAL",
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
    if "BPMASK" in primary or _text(primary, "OBSTYPE") == "BPM":
        found = (found - NOT_OF_A_MASK) | {"BPM"}
    return frozenset(found)


def _text(header: Header, key: str) -> str:
    return str(header.get(key) or "").strip().upper()


def _origin(primary: Header) -> set[str]:
    observatory, telescope = _text(primary, "OBSERVAT"), _text(primary, "TELESCOP")
    found = {"GSAOI"} if _text(primary, "INSTRUME") == "GSAOI" else set()
    if {observatory, telescope} & {"GEMINI-NORTH", "GEMINI-SOUTH"}:
        found.add("GEMINI")
    if observatory.startswith("GEMINI-"):
        found.add(observatory.removeprefix("GEMINI-"))
    return found


def _kind(primary: Header) -> set[str]:
    observed, target = _text(primary, "OBSTYPE"), _text(primary, "OBJECT")
    found = {"IMAGE"}
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
    if primary.get("GCALLAMP") in ("IRhigh", "QH"):
        found |= {"GCALFLAT", "FLAT", "CAL"}
    if _text(primary, "OBSCLASS") in ("ACQ", "ACQCAL"):
        found.add("ACQUISITION")
    return found


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
