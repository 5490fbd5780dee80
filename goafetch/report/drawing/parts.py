"""What a page shows of a stack by the product alone: tasks for workers, to begin as soon as it is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from goafetch.report.drawing import figures, pictures
from goafetch.report.drawing.draw import drawn_plainly
from goafetch.report.drawing.figures import Figure
from goafetch.report.drawing.tiles import choose_code, cut_tiles, tell_facts
from goafetch.report.export import write_catalogues
from goafetch.report.products import Stack, column, read_stack
from goafetch.report.quality import Quality, list_bits, list_exposures, measure, tell_made
from reducer.instruments import instrument_of

#: Begins ``function(*args)``, perhaps in another process.
Submit = Callable[..., Future[Any]]

#: Keywords that the page shows, beside those of the filters.
SHOWN = (
    "OBJECT", "EXPTIME", "COADDS", "TEXPTIME", "NCOMBINE", "REFFRAME", "BUNIT",
    "NOISCORR", "NCORR02", "NCORR04", "CRVAL1", "CRVAL2", "RADESYS", "ASTRCAT", "ASTRNUM",
    "ASTRRMS", "GOAFVERS", "GOAFKEY",
)  # fmt: skip
#: Keywords that tell how the sky was found, in words.
SKY = {
    "SKYMODE": "Where it was taken, and why",
    "SKYLEVM": "Its level",
    "SKYNUM": "Sky exposures used",
    "SKYSIGMA": "Sure to (electrons)",
}
#: The columns of a product's provenance tables that the page shows.
PROVENANCE = {
    "PROVENANCE": ("filename", "md5", "provenance_added_by"),
    "HISTORY": ("primitive", "args"),
    "VERSIONS": ("package", "version"),
}


@dataclass(frozen=True)
class View:
    """The pixels: a PNG, and what the page's viewer needs, its facts in JSON and its tiles by name."""

    picture: bytes
    facts: str
    tiles: dict[str, str]


@dataclass(frozen=True)
class Findings:
    """How good a stack is, figures and tables by their names on the page, and the catalogues beside it."""

    quality: Quality
    told: dict[str, Any]
    catalogues: list[str]


@dataclass(frozen=True)
class Parts:
    """Both of a stack, under way."""

    view: Future[View]
    findings: Future[Findings]


def begin_parts(path: Path, place: Path, submit: Submit) -> Parts:
    """Begin to draw a stack whose page will stand in ``place``; the futures raise reducer.errors.BadFile."""
    return Parts(submit(view, path), submit(find, path, place))


@drawn_plainly
def view(path: Path) -> View:
    """Draw a stack's pixels."""
    stack = read_stack(path)
    code = choose_code(stack)
    return View(pictures.draw_stack(stack), tell_facts(stack, code), cut_tiles(stack, code))


@drawn_plainly
def find(path: Path, place: Path) -> Findings:
    """Measure and tell a stack, and write its catalogues into ``place``."""
    stack = read_stack(path)
    quality = measure(stack)
    place.mkdir(parents=True, exist_ok=True)
    return Findings(
        quality, _tell(stack, quality), [beside.name for beside in write_catalogues(stack, place)]
    )


def _tell(stack: Stack, quality: Quality) -> dict[str, Any]:
    """The figures and tables of a stack's page."""
    depth = [
        *figures.draw_maps(stack, quality),
        figures.draw_noise(stack),
        figures.draw_growth(stack, quality.scale),
    ]
    wheels = instrument_of(stack.header, stack.path.name).wheels
    return {
        "depth": _present(depth),
        "sky_choice": [(name, stack.text(key)) for key, name in SKY.items() if stack.text(key)],
        "exposures": _present([figures.draw_exposures(stack), figures.draw_residuals(stack)]),
        "made": tell_made(stack),
        "each": list_exposures(stack),
        "mask": list_bits(stack),
        "provenance": {table: _rows(stack, table, names) for table, names in PROVENANCE.items()},
        "header": [(key, stack.text(key)) for key in (*wheels, *SHOWN) if stack.text(key)],
    }


def _present(drawn: Sequence[Figure | None]) -> list[Figure]:
    """The figures that could be drawn."""
    return [figure for figure in drawn if figure is not None]


def _rows(stack: Stack, table: str, names: Sequence[str]) -> list[list[str]]:
    """Some columns of a product's table as text, nothing where it has not all of them."""
    columns = [values for name in names if (values := column(stack.tables.get(table), name)) is not None]
    if len(columns) != len(names):
        return []
    return [[str(value).strip() for value in row] for row in zip(*columns, strict=True)]
