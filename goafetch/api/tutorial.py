"""The published GSAOI tutorial as facts, each compared with what stands in a workspace."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goafetch.api.dataselect import describe_files
from goafetch.workspace import Workspace
from reducer.products import OFF_TARGET, ON_TARGET, exposure_name

if TYPE_CHECKING:
    from reducer.headers.descriptors import Descriptors

PROGRAM, DATES = "GS-2017A-Q-29", "20170504-20170505"
MASK = "bpm_20121104_gsaoi_gsaoi_11_full_4amp.fits"
FLAT, STACK = "S20170505S0030_flat.fits", "S20170505S0095_image.fits"
WRONG_WCS = ("S20170505S0105", "S20170505S0108", "S20170505S0109")
#: Pixels of the published stack (x, y) at 0.02 arcsec, and by how many a field that is cut differently
#: at its edges may differ: the dither of 0.4 arcsec each way, and the gaps' uncertainty.
SHAPE, PUBLISHED_SCALE, EDGE = (4275, 4261), 0.02, 45


@dataclass(frozen=True)
class Fact:
    """A published fact, what was found, and whether they agree (None: it cannot be compared)."""

    what: str
    published: str
    found: str
    agrees: bool | None


def check(workspace: Workspace) -> list[Fact]:
    """Compare the published facts with the raw files and products of a workspace."""
    raw, _ = describe_files(sorted(workspace.playdata.glob("*.fits")))
    made, _ = describe_files(sorted(workspace.playground.glob("*.fits")))
    products = dict(made)
    stack = products.get(workspace.playground / STACK)
    return [
        *_of_raw_files(raw),
        *_of_products(products, dict(raw)),
        *_of_second_places(workspace),
        *(_of_stack(workspace.playground / STACK, stack, raw) if stack else ()),
    ]


def _of_raw_files(raw: Sequence[tuple[Path, Descriptors]]) -> list[Fact]:
    science = [path for path, facts in raw if facts.observation_class == "science"]
    flats = [path for path, facts in raw if "FLAT" in facts.tags]
    standards = [path for path, facts in raw if facts.observation_class == "partnerCal"]
    masks = [path.name for path, facts in raw if "BPM" in facts.tags]
    return [
        _count("science files", 16, science),
        _count("associated files", 34, [*flats, *standards]),
        _count("flats", 30, flats),
        _count("exposures of the standard", 4, standards),
        Fact("bad-pixel mask", MASK, ", ".join(masks), masks == [MASK]),
    ]


def _of_products(products: dict[Path, Descriptors], raw: dict[Path, Descriptors]) -> list[Fact]:
    science = {path: facts for path, facts in products.items() if facts.observation_class == "science"}
    on_target = [path for path in science if path.stem.endswith(ON_TARGET)]
    off_target = [path for path in science if path.stem.endswith(OFF_TARGET)]
    before = {exposure_name(path): _pointing(facts) for path, facts in raw.items()}
    after = {exposure_name(path): _pointing(science[path]) for path in sorted([*on_target, *off_target])}
    rebuilt = [name for name, place in after.items() if before.get(name) != place]
    names = {path.name for path in products}
    return [
        _count("on target (_skyCorrected)", 9, on_target),
        _count("off target (_flatCorrected)", 7, off_target),
        Fact("WCS repaired", _short(WRONG_WCS), _short(rebuilt), tuple(rebuilt) == WRONG_WCS),
        Fact("master flat", FLAT, FLAT if FLAT in names else "none", FLAT in names),
        Fact("stack", STACK, STACK if STACK in names else "none", STACK in names),
    ]


def _of_second_places(workspace: Workspace) -> list[Fact]:
    kept = workspace.calibrations / "processed_flat" / FLAT
    where = str(kept.relative_to(workspace.playground))
    return [Fact("second place of the flat", where, where if kept.is_file() else "none", kept.is_file())]


def _of_stack(path: Path, facts: Descriptors, raw: Iterable[tuple[Path, Descriptors]]) -> list[Fact]:
    from reducer.fitsio import read_headers

    _, extensions = read_headers(path)
    names = [str(header.get("EXTNAME", "")) for header in extensions]
    unit = str(facts.chips[0].get("BUNIT", ""))
    planes = [name for name in ("SCI", "VAR", "DQ") if names.count(name) == 1]
    return [
        Fact("planes of the stack", "SCI VAR DQ", " ".join(planes), len(planes) == 3),
        Fact("unit of the stack", "electron", unit, unit.startswith("electron")),
        _shape(facts, raw),
    ]


def _shape(facts: Descriptors, raw: Iterable[tuple[Path, Descriptors]]) -> Fact:
    """The stack's size at the published scale; arrays that were read in part cannot give it."""
    header, scale = facts.chips[0], facts.pixel_scale or PUBLISHED_SCALE
    size = [round(int(header[key]) * scale / PUBLISHED_SCALE) for key in ("NAXIS1", "NAXIS2")]
    published = f"{SHAPE[0]}x{SHAPE[1]} at {PUBLISHED_SCALE} arcsec"
    found = f"{header['NAXIS1']}x{header['NAXIS2']} at {scale:.4f} arcsec"
    science = [known.regions for _, known in raw if known.observation_class == "science"]
    if any(region[1:] != (0, 2048, 0, 2048) for regions in science for region in regions):
        return Fact("size of the stack", published, f"{found}, of parts of the arrays", None)
    near = all(abs(mine - theirs) <= EDGE for mine, theirs in zip(size, SHAPE, strict=True))
    return Fact("size of the stack", published, found, near)


def _pointing(facts: Descriptors) -> list[Any]:
    """Where the WCS of each array puts its reference pixel: repairs of other things leave it."""
    return [chip.get(key) for chip in facts.chips for key in ("CRVAL1", "CRVAL2")]


def _count(what: str, published: int, found: Sequence[Any]) -> Fact:
    return Fact(what, str(published), str(len(found)), len(found) == published)


def _short(names: Iterable[str]) -> str:
    return " ".join(name[-4:] for name in names) or "none"
