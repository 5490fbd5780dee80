"""Turns the words of an archive URL into a selection, with the archive's order of tests and its silences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import quote, unquote

from goafetch.practice.goa import vocabulary as known
from goafetch.practice.goa.dates import read_date, read_range

Value = bool | str | tuple[str, ...]
Finding = tuple[str, Value]
Test = Callable[[str, datetime], Finding | None]

# A query with none of these is open: it could match any number of rows (GOA_API: limits 500 and 2000).
CLOSING = frozenset(
    [
        "date",
        "daterange",
        "night",
        "nightrange",
        "program_id",
        "observation_id",
        "data_label",
        "filename",
        "filepre",
        "filelist",
    ]
)


@dataclass(frozen=True)
class Selection:
    """What a URL asks for: criteria by name, and the words that were not understood (and are ignored)."""

    criteria: Mapping[str, Value] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether nothing in the selection restricts the number of rows."""
        return not CLOSING & self.criteria.keys()

    def adding(self, **criteria: Value) -> Selection:
        """Add criteria that the selection does not have yet."""
        return Selection({**criteria, **self.criteria}, self.unknown)


def split_path(path: str) -> list[str]:
    """Split a URL path into words: ``%2F`` counts as a slash, ``=slash=`` stands for one inside a name."""
    return [word.replace("=slash=", "/") for word in unquote(path).split("/") if word]


def parse(words: Iterable[str], now: datetime) -> Selection:
    """Read the words of a selection; later ones overwrite earlier ones, unknown ones are put aside.

    Source: FitsStorage ``get_selection.py``: the first test that knows a word decides what it means.
    """
    criteria: dict[str, Value] = {}
    unknown: list[str] = []
    for word in words:
        if word == "defaults":
            criteria.update(known.DEFAULTS)
            continue
        finding = next((found for test in TESTS if (found := test(word, now)) is not None), None)
        if finding is None:
            unknown.append(word)
        else:
            criteria[finding[0]] = finding[1]
            if finding[0] == "lgs":
                criteria["ao"] = "AO"
            elif word in {"LS", "MOS", "IFS"}:
                criteria["spectroscopy"] = True
    return Selection(_most_specific(criteria), tuple(unknown))


def _most_specific(criteria: dict[str, Value]) -> dict[str, Value]:
    """Keep only the most specific of data label, observation and program."""
    labels = ("data_label", "observation_id", "program_id")
    given = [name for name in labels if name in criteria]
    return {name: value for name, value in criteria.items() if name not in given[1:]}


def _one_of(name: str, words: Iterable[str]) -> Test:
    allowed = frozenset(words)
    return lambda word, now: (name, word) if word in allowed else None


def _telescope(word: str, now: datetime) -> Finding | None:
    name = known.TELESCOPES.get(word.lower().replace("-", "").replace("_", ""))
    return ("telescope", name) if name else None


def _file_name(word: str, now: datetime) -> Finding | None:
    name = known.standard_name(word)
    return ("filename", name) if name else None


def _grating(word: str, now: datetime) -> Finding | None:
    name = word.split("_G")[0].strip("+")
    return ("disperser", name) if name in known.GRATINGS else None


def _mask(word: str, now: datetime) -> Finding | None:
    is_mask = word in known.MASKS or known.MOS_MASK.fullmatch(word)
    return ("focal_plane_mask", word) if is_mask else None


def _binning(word: str, now: datetime) -> Finding | None:
    return ("binning", word) if known.BINNING.fullmatch(word) else None


def _instrument(word: str, now: datetime) -> Finding | None:
    name = known.INSTRUMENTS.get(word.lower())
    return ("inst", name) if name else None


def _key_and_value(word: str, now: datetime) -> Finding | None:
    key, mark, value = word.partition("=")
    return (known.KEYS[key], value) if mark and key in known.KEYS else None


def _flag(word: str, now: datetime) -> Finding | None:
    return known.FLAGS.get(word)


def _adaptive_optics(word: str, now: datetime) -> Finding | None:
    if word in {"AO", "NOTAO", "NOAO"}:
        return "ao", word
    return ("lgs", word) if word in {"LGS", "NGS"} else None


def _program(word: str, now: datetime) -> Finding | None:
    if known.PROGRAM.fullmatch(word):
        return "program_id", word
    key, _, value = word.partition("=")
    if key != "progid":
        return None
    name = value.strip()
    if known.DATA_LABEL.fullmatch(name):
        return "data_label", name
    return ("observation_id" if known.OBSERVATION.fullmatch(name) else "program_id"), name


def _observation(word: str, now: datetime) -> Finding | None:
    key, _, value = word.partition("=")
    if key == "obsid":
        return "observation_id", value.strip()
    return ("observation_id", word) if known.OBSERVATION.fullmatch(word) else None


def _data_label(word: str, now: datetime) -> Finding | None:
    key, _, value = word.partition("=")
    if key == "datalabel":
        return "data_label", value.strip()
    return ("data_label", word) if known.DATA_LABEL.fullmatch(word) else None


def _region(word: str, now: datetime) -> Finding | None:
    name = known.REGIONS.get(word.lower())
    return ("detector_roi", name) if name else None


def _image_kind(word: str, now: datetime) -> Finding | None:
    kinds = {
        "preimage": ("pre_image", True),
        "twilight": ("twilight", True),
        "nottwilight": ("twilight", False),
    }
    return kinds.get(word.lower())


def _file_prefix(word: str, now: datetime) -> Finding | None:
    return ("filepre", word) if len(word) < 14 and known.FILE_PREFIX.fullmatch(word) else None


def _object(word: str, now: datetime) -> Finding | None:
    key, mark, value = word.partition("=")
    return ("object", value) if mark and key in {"object", "Object"} else None


def _date(word: str, now: datetime) -> Finding | None:
    return ("date", word) if read_date(word, now) else None


def _date_range(word: str, now: datetime) -> Finding | None:
    return ("daterange", word) if read_range(word, now) else None


TESTS: tuple[Test, ...] = (
    _telescope,
    _file_name,
    _one_of("observation_type", known.OBSERVATION_TYPES),
    _one_of("observation_class", known.OBSERVATION_CLASSES),
    _one_of("caltype", known.CALIBRATION_TYPES),
    _one_of("processing", known.PROCESSINGS),
    _one_of("reduction", known.REDUCTIONS),
    _grating,
    _mask,
    _binning,
    _one_of("gain", known.GAINS),
    _one_of("readspeed", known.READ_SPEEDS),
    _one_of("welldepth", known.WELL_DEPTHS),
    _one_of("readmode", known.READ_MODES),
    _instrument,
    _key_and_value,
    _flag,
    _one_of("qa_state", known.QA_STATES),
    _adaptive_optics,
    _program,
    _observation,
    _data_label,
    _region,
    _image_kind,
    _file_prefix,
    _object,
    _one_of("mode", {"LS", "MOS", "IFS"}),
    _date,
    _date_range,
)

_BARE = frozenset({"filelist", "inst", "program_id", "observation_id", "data_label", "caltype"})
_KEYED = frozenset(known.KEYS.values()) - {"filename", "focal_plane_mask"}
_FLAG_WORDS = {(name, value): word for word, (name, value) in reversed(known.FLAGS.items())}


def describe(selection: Selection) -> str:
    """Write the selection as the archive's normalised URL: criteria in alphabetical order (``to_url.py``)."""
    criteria = dict(selection.criteria)
    parts = []
    if all(criteria.get(name) == value for name, value in known.DEFAULTS.items()):
        criteria = {name: value for name, value in criteria.items() if name not in known.DEFAULTS}
        parts.append("defaults")
    if selection.unknown:
        criteria["notrecognised"] = " ".join(selection.unknown)
    parts += [_describe_one(name, criteria[name]) for name in sorted(criteria)]
    return "".join(f"/{part}" for part in parts)


def _describe_one(name: str, value: Value) -> str:
    if isinstance(value, tuple):
        return str(list(value))
    if (name, value) in _FLAG_WORDS:
        return _FLAG_WORDS[name, value]
    if name == "twilight":
        return "twilight" if value else "nottwilight"
    if name == "object":
        return f"object={quote(str(value)).replace('/', '%252F')}"
    if name == "focal_plane_mask":
        return f"mask={value}"
    if name == "program_id" and not known.PROGRAM.fullmatch(str(value)):
        return f"progid={value}"
    return f"{name}={value}" if name in _KEYED and name not in _BARE else str(value)
