"""Program, observation and data-label names: what is one, and what a near miss was meant to be."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from goafetch.errors import UsageError

Kind = Literal["program", "observation", "label"]

# The forms of FitsStorage gemini_metadata_utils/progid_obsid_dl.py. Some instruments' names have a hyphen:
# without them the number of an observation would read as that of its program.
_NAMES = r"(?:IGRINS-2|[A-Z][A-Z0-9+]*(?:-[NSX])?)"
_PROGRAM = (
    r"(?:G[NS]-20\d\d[AB]-(?:Q|C|SV|QS|DD|LP|FT|DS|CAL|ENG)-\d+"
    r"|G[NS]-(?:CAL|ENG)20\d\d[01]\d[0-3]\d"
    r"|G-20\d\d[AB]-\d+-[CDFLQSVP]"
    rf"|G-20\d\d[AB]-(?:CAL|ENG|COM|MON)-{_NAMES}-\d+)"
)
_LABEL = rf"({_PROGRAM}-\d+)-\d+((?:-\w+)*)"
_PATTERNS: tuple[tuple[Kind, str], ...] = (
    ("program", _PROGRAM),
    ("observation", rf"{_PROGRAM}-\d+"),
    ("label", _LABEL),
)
_LOOSE_OLD = r"G?-?([NS])?-?(20\d\d)-?([AB])-?(SV|QS|DD|LP|FT|DS|CAL|ENG|Q|C)-?(\d+)((?:-\d+){0,2})"
_LOOSE_NEW = r"G-?(20\d\d)-?([AB])-?(\d{1,4})-?([CDFLQSVP])((?:-\d+){0,2})"


@dataclass(frozen=True)
class Identifier:
    """A valid name: what ``kind`` of name it is, and its ``value`` as the archive spells it."""

    kind: Kind
    value: str

    @property
    def word(self) -> str:
        """The archive's word for it.

        Some of its releases read bare observations of the new CAL, ENG, COM and MON programs as programs,
        and drop labels with other extensions than letters: these are sent under the name of their kind.
        """
        keys = {"observation": "obsid", "label": "datalabel"}
        label = re.fullmatch(_LABEL, self.value)
        plain = label is None or not label[2]
        if self.kind not in keys or (plain and not re.match(r"G-20\d\d[AB]-[CEM]", self.value)):
            return self.value
        return f"{keys[self.kind]}={self.value}"


def is_identifier(text: str) -> bool:
    """Tell whether a word reads as the name of a program, an observation or a data label."""
    return _match(text.strip().upper()) is not None


def read_identifier(text: str) -> Identifier:
    """The name in ``text``; lower case is put right. Raises UsageError, with a suggestion if there is one."""
    stripped = text.strip()
    found = _match(stripped) or _match(stripped.upper())
    if found is not None:
        return found
    meant = suggest(stripped)
    raise UsageError(
        f"{text!r} is not a Gemini program, observation or data label"
        if stripped
        else "no program was given",
        "a name such as GS-2017A-Q-29, G-2024B-0123-Q, GS-2017A-Q-29-32 or GS-2017A-Q-29-32-001",
        f"did you mean {meant}?" if meant else "",
    )


def suggest(text: str) -> str | None:
    """The name that was probably meant where dashes are missing, doubled or replaced, or O stands for 0."""
    dashed = re.sub(r"[\s_./–—-]+", "-", text.strip().upper())
    dashed = re.sub(r"(?<=\d)O|O(?=\d)", "0", dashed)
    if old := re.fullmatch(_LOOSE_OLD, dashed):
        site, year, half, kind, number, rest = old.groups()
        return f"G{site or 'S'}-{year}{half}-{kind}-{int(number)}{rest}"
    if new := re.fullmatch(_LOOSE_NEW, dashed):
        year, half, number, kind, rest = new.groups()
        return f"G-{year}{half}-{int(number):04d}-{kind}{rest}"
    return None


def observation_of(label: str) -> str | None:
    """The observation that a data label belongs to, or None for what is not a data label."""
    match = re.fullmatch(_LABEL, label)
    return match[1] if match else None


def _match(text: str) -> Identifier | None:
    for kind, pattern in _PATTERNS:
        if re.fullmatch(pattern, text):
            return Identifier(kind, text)
    return None
