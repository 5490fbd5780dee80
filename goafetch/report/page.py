"""The report's pages: what each shows of its stack, drawn by workers; an index of stacks, one of programs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from goafetch import __version__
from goafetch.events import Event
from goafetch.report import figures, pictures
from goafetch.report.arrays import StepPictures
from goafetch.report.catalogue_files import write_catalogue
from goafetch.report.citations import BIBTEX, TEXT, cite, write_citation
from goafetch.report.colour_page import choose_stacks, show_colours
from goafetch.report.draw import as_data, as_thumbnail, drawn_plainly
from goafetch.report.export import list_steps
from goafetch.report.figures import Figure
from goafetch.report.flat_step import show_flat_step
from goafetch.report.render import render
from goafetch.report.run_summary import Product, RunSummary, read_summary
from goafetch.report.sky_step import show_sky_step
from goafetch.report.stack_file import StackFile, column, read_stack
from goafetch.report.tiles import choose_code, cut_tiles, tell_facts
from goafetch.report.verdicts import (
    Quality,
    Verdict,
    judge_stack,
    list_bits,
    list_exposures,
    measure,
    tell_made,
)
from goafetch.system import trim_memory
from goafetch.workspace import write_atomically
from reducer.errors import BadFile
from reducer.instruments import instrument_of
from reducer.products import STACK


@dataclass(frozen=True)
class Entry:
    """What the index shows of a stack."""

    product: Product
    page: str
    png: bytes
    verdicts: Sequence[Verdict]

    def thumbnail(self) -> str:
        """The stack's picture, small, as an address that holds it."""
        return as_data(as_thumbnail(self.png))


@dataclass(frozen=True)
class Page:
    """A page whose pictures are under way: its product, its file's name, its parts, the sky's level, and the
    sky step of each exposure."""

    product: Product
    name: str
    parts: PageParts
    sky: Future[Figure | None]
    sky_step: Future[list[StepPictures]]


def make_report(
    folder: Path, submit: Submit | None = None, begun: Mapping[Path, PageParts] | None = None
) -> Path:
    """(Re)make report/index.html and the picture of each stack from a workspace; returns the page.

    ``submit`` has things drawn elsewhere, by default in a thread; ``begun``: stacks that are drawn already.
    Raises WorkspaceError where no run has told its story. A product that cannot be read is named on the
    index instead of being shown.
    """
    if submit is None:
        with ThreadPoolExecutor(1) as thread:  # not more: matplotlib has one set of settings for all
            return make_report(folder, thread.submit)
    folder = Path(folder)
    summary = read_summary(folder)
    (folder / "report").mkdir(parents=True, exist_ok=True)
    pages = name_pages(summary.products)
    made = figures.list_flats(folder, summary.products)
    flats = [submit(figures.draw_flat, *about) for about in made]
    flat_steps = [submit(show_flat_step, folder, summary, path, group) for path, group, _ in made]
    targets = choose_stacks(folder / product.path for product in pages if product.kind == "stack")
    colours = [submit(show_colours, *about, folder / "report") for about in targets.items()]
    waiting = _begin(folder, summary, pages, submit, begun or {})
    citation = cite(folder, summary)
    write_citation(folder / "report", citation)
    common = {
        "summary": summary,
        "decisions": _by_subject(summary.decisions),
        "flats": [flat.result() for flat in flats],
        "flat_steps": [step for each in flat_steps if (step := each.result())],
        "pages": pages,
        "steps": list_steps(summary, folder),
        "place": str(folder),
        "citation": citation,
        "citation_files": (TEXT, BIBTEX),
    }
    entries, unreadable = [], []
    for page in waiting:
        try:
            entries.append(_make_page(folder, page, common))
        except (BadFile, FileNotFoundError) as error:
            unreadable.append((page.product.path, str(error)))
    index = folder / "report/index.html"
    if index.name not in [entry.page for entry in entries]:
        shown = [target.result() for target in colours]
        write_atomically(
            index, render("index.html", entries=entries, unreadable=unreadable, colours=shown, **common)
        )
    return index


def name_pages(products: Iterable[Product]) -> dict[Product, str]:
    """The page of each stack: the only science stack is the index itself."""
    stacks = [p for p in products if p.path.endswith(f"{STACK}.fits") and p.kind in ("stack", "standard")]
    science = [product for product in stacks if product.kind == "stack"]
    return {p: "index.html" if science == [p] else f"{Path(p.path).stem}.html" for p in stacks}


def _begin(
    folder: Path,
    summary: RunSummary,
    pages: Mapping[Product, str],
    submit: Submit,
    begun: Mapping[Path, PageParts],
) -> Iterator[Page]:
    """Have the pages drawn, each while the one before it is written; many at once would not fit in memory.

    The index comes last: where it stands, all the other pages do.
    """
    ahead: Page | None = None
    for product, name in sorted(pages.items(), key=lambda entry: entry[1] == "index.html"):
        path = folder / product.path
        parts = begun.get(path) or begin_parts(path, folder / "report", submit)
        on_target, off_target = figures.list_skies(folder, summary, product.stack)
        sky = submit(figures.draw_sky, on_target, off_target)
        shown = on_target if product.kind == "stack" else []  # of standards the level says enough
        sky_step = submit(show_sky_step, folder, summary, shown)
        if ahead:
            yield ahead
        ahead = Page(product, name, parts, sky, sky_step)
    if ahead:
        yield ahead


def count_left_out(summary: RunSummary, stack: str) -> int:
    """How many exposures of a stack were left out, under the names of their raw files or of what was made of
    them before a step refused it."""
    used = {_stem(exposure.name) for exposure in summary.exposures if exposure.stack == stack}
    return len(used & {_stem(exclusion.name) for exclusion in summary.exclusions})


def _stem(name: str) -> str:
    return name.split(".")[0].split("_")[0]


def _make_page(folder: Path, page: Page, common: dict[str, Any]) -> Entry:
    summary: RunSummary = common["summary"]
    product, view, findings = page.product, page.parts.view.result(), page.parts.findings.result()
    left_out = count_left_out(summary, product.stack)
    corrected = product.kind == "stack"
    groups = {exposure.group for exposure in summary.exposures if exposure.stack == product.stack}
    about = sum(event.group in {product.group, product.stack, *groups} for event in summary.warnings)
    verdicts = judge_stack(
        findings.quality, corrected=corrected, warnings=len(summary.warnings), about=about, left_out=left_out
    )
    stem = Path(product.path).stem
    picture = folder / f"report/stack_{stem}.png"
    write_atomically(picture, view.picture)
    text = render(
        "page.html",
        product=product,
        title=product.group or stem,
        verdicts=verdicts,
        picture=as_data(view.picture),
        viewer_facts=view.facts,
        tiles=view.tiles,
        beside=[picture.name, *findings.catalogues],
        sky=page.sky.result(),
        sky_step=page.sky_step.result(),
        **findings.told,
        **common,
    )
    write_atomically(folder / "report" / page.name, text)
    trim_memory()
    return Entry(product, page.name, view.picture, verdicts)


def _by_subject(decisions: Iterable[Event]) -> dict[str, list[Event]]:
    """Decisions by what they are about, each told once, in the order in which they were taken."""
    found: dict[str, list[Event]] = {}
    for decision in dict.fromkeys(decisions):
        found.setdefault(decision.group or "the whole run", []).append(decision)
    return found


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
    "SKYMODE": "Sky mode, and why",
    "SKYLEVM": "Level",
    "SKYNUM": "Sky exposures used",
    "SKYSIGMA": "Uncertainty (e-)",
}
#: The columns of a product's provenance tables that the page shows.
PROVENANCE = {
    "PROVENANCE": ("filename", "md5", "provenance_added_by"),
    "HISTORY": ("primitive", "args"),
    "VERSIONS": ("package", "version"),
}


@dataclass(frozen=True)
class PageView:
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
class PageParts:
    """Both of a stack, under way."""

    view: Future[PageView]
    findings: Future[Findings]


def begin_parts(path: Path, place: Path, submit: Submit) -> PageParts:
    """Begin to draw a stack whose page will stand in ``place``; the futures raise reducer.errors.BadFile."""
    return PageParts(submit(draw_view, path), submit(find_facts, path, place))


@drawn_plainly
def draw_view(path: Path) -> PageView:
    """Draw a stack's pixels."""
    stack = read_stack(path)
    code = choose_code(stack)
    return PageView(pictures.draw_stack(stack), tell_facts(stack, code), cut_tiles(stack, code))


@drawn_plainly
def find_facts(path: Path, place: Path) -> Findings:
    """Measure and tell a stack, and write its catalogues into ``place``."""
    stack = read_stack(path)
    quality = measure(stack)
    place.mkdir(parents=True, exist_ok=True)
    return Findings(quality, _tell(stack, quality), [beside.name for beside in write_catalogue(stack, place)])


def _tell(stack: StackFile, quality: Quality) -> dict[str, Any]:
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
        "exposures": _present(
            [figures.draw_unaligned(stack), figures.draw_residuals(stack), figures.draw_exposures(stack)]
        ),
        "made": tell_made(stack),
        "each": list_exposures(stack),
        "mask": list_bits(stack),
        "provenance": {table: _rows(stack, table, names) for table, names in PROVENANCE.items()},
        "header": [(key, stack.text(key)) for key in (*wheels, *SHOWN) if stack.text(key)],
    }


def _present(drawn: Sequence[Figure | None]) -> list[Figure]:
    """The figures that could be drawn."""
    return [figure for figure in drawn if figure is not None]


def _rows(stack: StackFile, table: str, names: Sequence[str]) -> list[list[str]]:
    """Some columns of a product's table as text, nothing where it has not all of them."""
    columns = [values for name in names if (values := column(stack.tables.get(table), name)) is not None]
    if len(columns) != len(names):
        return []
    return [[str(value).strip() for value in row] for row in zip(*columns, strict=True)]


@dataclass(frozen=True)
class ProgramEntry:
    """A program on the index: its name, its report (None: there is none), and what became of it."""

    program: str
    page: Path | None
    told: str
    failed: bool


def make_index(folder: Path, entries: Sequence[ProgramEntry]) -> Path:
    """Write report/index.html below ``folder``, with a link to each program's own report."""
    place = folder / "report"
    place.mkdir(parents=True, exist_ok=True)
    links = [(entry, os.path.relpath(entry.page, place) if entry.page else "") for entry in entries]
    page = place / "index.html"
    write_atomically(page, render("programs.html", links=links, summary=RunSummary("", version=__version__)))
    return page
