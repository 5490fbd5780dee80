"""What files are called: raw exposures, products, calibrations; and which hold one exposure twice."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reducer.types import Reason, because

if TYPE_CHECKING:
    from reducer.headers.descriptors import Descriptors

#: Suffixes of what a reduction ends with: master flats, static masks, master darks, exposures off and on
#: target, stacks; and of what is subtracted of an exposure as its sky.
FLAT, BPM, DARK = "_flat", "_bpm", "_dark"
OFF_TARGET, ON_TARGET, STACK = "_flatCorrected", "_skyCorrected", "_image"
SKY = "_sky"
#: Kinds of calibrations, as DRAGONS calls them.
PROCESSED_FLAT, PROCESSED_BPM, PROCESSED_DARK = "processed_flat", "processed_bpm", "processed_dark"
#: A raw file's own name; what products of it begin with.
RAW_NAME = re.compile(r"[NS]\d{8}S\d{4}(?![0-9A-Za-z])")
#: What a product's name has behind that of its exposure.
SUFFIX = re.compile(r"_([A-Za-z]+(Corrected|Added|Electrons)|image|stack|align|flat|bpm|dark|sky)$")


def exposure_name(path: Path) -> str:
    """'S20170505S0095' of 'S20170505S0095.fits' or 'S20170505S0095_skyCorrected.fits'."""
    own = RAW_NAME.match(path.name)
    return own.group() if own else SUFFIX.sub("", path.name.removesuffix(".fits"))


def needless(files: Sequence[tuple[Path, Descriptors]]) -> dict[Path, tuple[Reason, bool]]:
    """The files that cannot be used beside the others: path -> why, and whether something is lost by it.

    Copies, told by data label and time, whatever their names: the most complete file is used, then the one
    with a raw file's name, then that of the shortest. And exposures whose products would bear another one's
    name, which are lost until they are renamed.
    """
    found: dict[Path, tuple[Reason, bool]] = {}
    first: dict[Hashable, Path] = {}
    names: dict[str, Path] = {}
    for path, facts in sorted(files, key=_preference):
        identity, name = exposure_identity(facts), exposure_name(path).casefold()
        same = first.setdefault(identity, path) if identity else path
        if same is not path:
            other = same if same.name == path.name else same.name
            known = f"{facts.data_label or 'without data label'}, {facts.ut_datetime} UT"
            found[path] = because("copy", other=str(other), label=known), False
        elif names.setdefault(name, path) is not path:
            found[path] = because("same_name", other=names[name].name), True
    return found


def _preference(file: tuple[Path, Descriptors]) -> tuple[int, bool, int, str]:
    path, facts = file
    is_own_name = RAW_NAME.fullmatch(SUFFIX.sub("", path.name.removesuffix(".fits"))) is not None
    return -len(facts.chips), not is_own_name, len(path.name), path.name


def exposure_identity(facts: Descriptors) -> Hashable | None:
    """What two files of one exposure share and no two exposures do; None where headers do not tell.

    An exposure is of one data label and time; where there is no label, of one time, place and setting.
    """
    if facts.ut_datetime is None:
        return None
    if facts.data_label:
        return facts.data_label, facts.ut_datetime
    setting = facts.filter_name, facts.exposure_time, facts.coadds, facts.regions
    return facts.ut_datetime, facts.object, facts.observation_id, facts.ra, facts.dec, *setting
