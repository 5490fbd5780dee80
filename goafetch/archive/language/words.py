"""The archive's vocabulary: what each kind of search word may be, and the nearest to a misspelt one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from goafetch.errors import UsageError

# FitsStorage get_selection.py and gemini_metadata_utils; exact spelling counts there.
CLASSES = ("science", "acq", "acqCal", "dayCal", "partnerCal", "progCal", "nightCal")
TYPES = (
    *("OBJECT", "DARK", "ARC", "FLAT", "BIAS", "PINHOLE", "RONCHI", "CAL", "FRINGE", "MASK"),
    *("STANDARD", "SLITILLUM", "BPM"),
)
INSTRUMENTS = (
    *("GSAOI", "GMOS", "GMOS-N", "GMOS-S", "NIRI", "NIFS", "GNIRS", "F2", "GHOST", "GPI", "NICI", "TReCS"),
    *("michelle", "IGRINS", "IGRINS-2", "Phoenix", "MAROON-X", "Zorro", "bHROS"),
)
#: What each QA word selects: the states of a row that satisfy it (None: any but Fail; empty: any at all).
QA_STATES: dict[str, tuple[str, ...] | None] = {
    "Pass": ("Pass",),
    "Usable": ("Usable",),
    "Fail": ("Fail",),
    "CHECK": ("CHECK",),
    "UndefinedQA": ("Undefined",),
    "Win": ("Pass", "Usable"),
    "Lucky": ("Pass", "Undefined"),
    "NotFail": None,
    "AnyQA": (),
}


def admits(qa: str, state: str | None) -> bool:
    """Whether a QA word selects rows of a QA state."""
    states = QA_STATES[qa]
    return state != "Fail" if states is None else not states or state in states


#: Filters of GSAOI as the archive names them, without component numbers (GSAOI instrument pages).
GSAOI_FILTERS = (
    *(
        "Z",
        "J",
        "H",
        "Kprime",
        "Kshort",
        "K",
        "Jcont",
        "Hcont",
        "CH4short",
        "CH4long",
        "Kcntshrt",
        "Kcntlong",
    ),
    *("HeI1083", "PaG", "PaB", "FeII", "H2O", "HeI-2p2s", "H2(1-0)", "BrG", "H2(2-1)", "CO2360"),
)
_FILTER_ALIASES = {"ks": "Kshort", "k'": "Kprime", "kp": "Kprime", "k(short)": "Kshort", "k(prime)": "Kprime"}


def choose(text: str, known: Iterable[str], what: str) -> str:
    """The known word that ``text`` spells in any case; else a UsageError that names the nearest and all."""
    words = list(known)
    by_lower = {word.lower(): word for word in words}
    if text.strip().lower() in by_lower:
        return by_lower[text.strip().lower()]
    near = difflib.get_close_matches(text.strip().lower(), by_lower, 1, 0.6)
    raise UsageError(
        f"{text!r} is not {what}",
        "one of " + ", ".join(words),
        f"did you mean {by_lower[near[0]]}?" if near else "",
    )


def read_filter(text: str, instrument: str | None) -> str:
    """A filter's name as the archive spells it: without component number; known ones only for GSAOI."""
    name = re.sub(r"_G\d{4}", "", text.strip()).removesuffix("&Clear").removeprefix("Clear&")
    if instrument == "GSAOI":
        return choose(_FILTER_ALIASES.get(name.lower(), name), GSAOI_FILTERS, "a filter of GSAOI")
    return read_text(name, "filter")


def read_text(text: str, what: str) -> str:
    """Free text that can stand in an address: not empty, no control characters."""
    stripped = text.strip()
    if not stripped or not stripped.isprintable():
        raise UsageError(f"{text!r} cannot be the name of an {what}" if stripped else f"the {what} is empty")
    return stripped


def read_object(text: str) -> str:
    """An object's name or pattern (``*`` stands for anything) that selects something."""
    name = read_text(text, "object")
    if not name.strip("*"):
        raise UsageError(
            f"the object {text!r} matches everything", "a name, or part of one with *", "for example 'NGC*'"
        )
    return name


def object_word(name: str) -> str:
    """What to send for an object pattern.

    The archive understands ``*`` only in patterns that begin or end with one (FitsStorage
    query_selection.py), so of any other pattern the part before the first ``*`` is sent, and the rows
    are compared with the whole pattern afterwards. A slash would end the word: it is written ``=slash=``.
    """
    if "*" in name and not (name.startswith("*") or name.endswith("*")):
        name = name.split("*", 1)[0] + "*"
    return name.replace("/", "=slash=")


def matches_object(pattern: str, name: str | None) -> bool:
    """Tell whether an object's name fits a pattern with ``*``, in any case."""
    return name is not None and _compiled(pattern, anything="*").fullmatch(name) is not None


def matches_loosely(sent: str, name: str | None) -> bool:
    """Tell whether the archive, which compares by SQL's ILIKE (``_`` is any character), may return a name."""
    if name is None:
        return False
    pattern = sent.replace("=slash=", "/").replace("%", "*")
    return _compiled(pattern, anything="*", any_one="_").fullmatch(name) is not None


def _compiled(pattern: str, *, anything: str, any_one: str = "") -> re.Pattern[str]:
    parts = [".*" if c == anything else "." if c == any_one else re.escape(c) for c in pattern]
    return re.compile("".join(parts), re.IGNORECASE | re.DOTALL)
