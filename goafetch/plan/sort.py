"""Which part each frame plays: mask, lamp on, lamp off, standard, science, or none, with the reason."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from calstore.associate import DARK as DARK_KIND
from calstore.associate import PROCESSED_DARK
from goafetch.plan.plan import DARK, SCIENCE, STANDARD, LeftOut, Setup
from goafetch.plan.translate import mask_start
from goafetch.words import say_reason
from reducer.headers.descriptors import Descriptors, Region
from reducer.headers.targets import is_sky_name, target_of
from reducer.instruments import KNOWN, find_instrument, instrument_of
from reducer.instruments.base import Instrument
from reducer.products import needless

MASK, LAMP_ON, LAMP_OFF = "mask", "lamp on", "lamp off"


@dataclass(frozen=True)
class Wanted:
    """Limits that the user set: object and filter, by the names that people use, empty for all; the part of
    the field that separates pointings, None for the usual of the instrument.

    ``given``: the dark or the flat of all visits, by its kind; ``without``: kinds that they go without.
    """

    object: str = ""
    filter: str = ""
    frac_fov: float | None = None
    given: Mapping[str, Path] = field(default_factory=dict, hash=False)
    without: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Frame:
    """A file on disk, its descriptors and the part it plays."""

    path: Path
    facts: Descriptors
    role: str = ""
    regions: tuple[Region, ...] = ()

    @property
    def instrument(self) -> Instrument:
        """That of its header."""
        return instrument_of(self.facts.primary)

    @property
    def setup(self) -> Setup:
        """What it shares with the frames that it is reduced with."""
        facts = self.facts
        return Setup(
            self.instrument.name,
            facts.filter or "?",
            round(facts.exposure_time or 0.0, 3),
            facts.coadds,
            facts.read_speed_setting,
            self.regions,
        )

    @property
    def gcal(self) -> bool:
        """Whether it is a flat of the calibration unit."""
        return "GCALFLAT" in self.facts.tags

    @property
    def target(self) -> str:
        """The target's name without the words that mark a sky pointing."""
        name = (self.facts.object or "unnamed").strip()
        return target_of(name) or name

    @property
    def named_sky(self) -> bool:
        """Whether its name says that it is of empty sky."""
        return is_sky_name(self.facts.object or "")


def sort_frames(
    frames: Iterable[tuple[Path, Descriptors]], wanted: Wanted | None = None
) -> tuple[list[Frame], list[LeftOut]]:
    """Give each frame its role, or leave it out with a reason."""
    described = list(frames)
    known = {facts.regions for _, facts in described}
    raw = [(path, facts) for path, facts in described if "RAW" in facts.tags and "BPM" not in facts.tags]
    doubled = needless(raw)
    sorted_frames = []
    left_out = [LeftOut(path, say_reason(why), failed=lost) for path, (why, lost) in doubled.items()]
    for path, facts in described:
        if path in doubled:
            continue
        role, reason = _role(facts, wanted or Wanted())
        damage = _damage(path, facts, role)
        if damage:
            left_out.append(LeftOut(path, damage, failed=True))
        elif role:
            sorted_frames.append(Frame(path, facts, role, _complete(facts.regions, known)))
        else:
            left_out.append(LeftOut(path, reason, failed=find_instrument(facts.primary) is None))
    return sorted_frames, left_out


def _complete(regions: tuple[Region, ...], known: Iterable[tuple[Region, ...]]) -> tuple[Region, ...]:
    """A frame that lacks an array goes with those that have it and read the same of the others."""
    return max((other for other in known if set(regions) <= set(other)), key=len, default=regions)


def _role(facts: Descriptors, wanted: Wanted) -> tuple[str, str]:
    """The role, or '' and why there is none."""
    tags = facts.tags
    if find_instrument(facts.primary) is None:
        return "", f"not a {' or '.join(KNOWN)} frame (INSTRUME is {facts.instrument or 'missing'})"
    if "BPM" in tags:
        return MASK, ""
    if "PROCESSED" in tags or "PREPARED" in tags:
        return "", "a product, not a raw frame; `goafetch caldb add` makes a master flat known"
    return _role_of_raw(facts, tags, wanted)


def _damage(path: Path, facts: Descriptors, role: str) -> str:
    """What keeps a file from playing its part, or from having one; '' if nothing does."""
    if role == MASK:
        return _no_mask(path, facts)
    return unreadable(facts) if role or facts.instrument is None else ""


def _no_mask(path: Path, facts: Descriptors) -> str:
    """Why what calls itself a bad-pixel mask cannot serve as one; '' if it can."""
    if facts.exposure_time and any(int(chip.get("BITPIX", 8)) < 0 for chip in facts.chips):
        return (
            f"BPMASK or OBSTYPE says a bad-pixel mask, but it holds the counts of {facts.exposure_time:g} s "
            "and not the whole numbers of a mask; fetch the file again, or leave it out"
        )
    arrays = {number for number, *_ in facts.regions}
    if not arrays or len(arrays) != len(facts.chips):
        return "a bad-pixel mask that does not say which arrays it holds; fetch it again"
    if mask_start(path, facts) is None:
        return (
            "a bad-pixel mask that does not say from when it is valid; name it bpm_YYYYMMDD_..., "
            "or set DATE-OBS in its header"
        )
    return ""


def unreadable(facts: Descriptors) -> str:
    """What a raw frame's header must tell and does not, with what to do; '' if it tells all."""
    known = find_instrument(facts.primary)
    wheels = f" ({', '.join(known.wheels)})" if known else ""
    needed = {
        "INSTRUME": facts.instrument,
        f"the filter{wheels}": facts.filter_name,
        "DATE-OBS and UT": facts.ut_datetime,
        "EXPTIME": facts.exposure_time,
    }
    missing = " and ".join(key for key, value in needed.items() if not value)
    return (
        f"{missing} cannot be read from its header; fetch the file again, or leave it out" if missing else ""
    )


def _role_of_raw(facts: Descriptors, tags: frozenset[str], wanted: Wanted) -> tuple[str, str]:
    if facts.qa_state == "Fail":
        return "", "its quality was judged Fail at the observatory"
    if "DARK" in tags:
        return _role_of_dark(instrument_of(facts.primary))
    if facts.filter_name and not facts.filter_is_known:
        return "", f"a filter wheel was still moving: the filter reads {facts.filter_name}"
    if "FLAT" in tags:
        return _role_of_flat(facts, tags)
    if "SPECT" in tags:
        return "", "a spectrum"
    return _role_of_target(facts, tags, wanted)


def _role_of_dark(known: Instrument) -> tuple[str, str]:
    if PROCESSED_DARK in known.calibrations:
        return DARK, ""
    rule = known.calibrations.get(DARK_KIND)
    return "", f"a dark: {rule.needless if rule else f'{known.name} has no rule by which it is used'}"


def _role_of_flat(facts: Descriptors, tags: frozenset[str]) -> tuple[str, str]:
    if "SPECT" in tags:
        return "", "a flat of spectra"
    lamp = instrument_of(facts.primary).lamp(tags, facts.filter)
    if lamp:
        return (LAMP_ON if lamp == "on" else LAMP_OFF), ""
    if "LAMPON" in tags:
        return "", f"a flat with the lamp on: in {facts.filter} the closed shutter is the light"
    kind = "twilight" if "TWILIGHT" in tags else "GCAL"
    return (
        "",
        f"a {kind} flat: dome flats are preferred; see `goafetch reduce -r makeProcessedFlat`",
    )


def _role_of_target(facts: Descriptors, tags: frozenset[str], wanted: Wanted) -> tuple[str, str]:
    if "ACQUISITION" in tags:
        return "", "an acquisition frame"
    if "THRUSLIT" in tags:
        return "", "an image through a slit or mask"
    if wanted.filter and facts.filter != wanted.filter:
        return "", f"filter {facts.filter}, and only {wanted.filter} was asked for"
    if facts.observation_class == "partnerCal":
        return STANDARD, ""
    if facts.observation_class not in (None, "", "science"):
        return "", f"class {facts.observation_class}: neither science nor a standard"
    name = facts.object or ""
    is_anyones_sky = is_sky_name(name) and not target_of(name)
    if wanted.object and not is_anyones_sky and not _named(name, wanted.object):
        return "", f"object {facts.object}, and only {wanted.object} was asked for"
    return SCIENCE, ""


def _named(name: str, wanted: str) -> bool:
    """The archive's rule, but for blanks: the whole name, any case, ``*`` at either end for anything."""
    pattern = ".*".join(re.escape(part) for part in re.sub(r"\s", "", wanted).split("*"))
    names = (re.sub(r"\s", "", text) for text in (name, target_of(name)))
    return any(re.fullmatch(pattern, text, re.IGNORECASE) for text in names)


def of_role(frames: Sequence[Frame], *roles: str) -> list[Frame]:
    """Frames of some roles, in order of time."""
    return sorted((f for f in frames if f.role in roles), key=lambda f: (f.facts.ut_datetime, f.path.name))
