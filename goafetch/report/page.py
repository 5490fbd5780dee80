"""Put the report together: one page for each stack, and an index where there are several."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goafetch.engine.memory import give_back
from goafetch.report.drawing import figures, pictures
from goafetch.report.drawing.draw import as_data, as_thumbnail
from goafetch.report.exchange import write_catalogues
from goafetch.report.model import Decision, Product, RunSummary, read_summary
from goafetch.report.products import Stack, column, read_stack
from goafetch.report.quality import Quality, measure
from goafetch.report.repeat import list_steps
from goafetch.report.tables import list_bits, list_exposures, tell_made
from goafetch.report.tiles import choose_code, cut_tiles, tell_facts
from goafetch.report.verdict import Verdict, judge
from goafetch.workspace import write_atomically
from reducer.errors import BadFile

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

#: An option of a command in a sentence.
OPTION = re.compile(r"--[a-z]+(-[a-z]+)*( FILE)?")

#: Keywords that the page shows.
SHOWN = (
    "OBJECT", "FILTER1", "FILTER2", "EXPTIME", "COADDS", "TEXPTIME", "NCOMBINE", "REFFRAME", "BUNIT",
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
class Entry:
    """What the index shows of a stack."""

    product: Product
    page: str
    png: bytes
    verdicts: Sequence[Verdict]

    def thumbnail(self) -> str:
        """The stack's picture, small, as an address that holds it."""
        return as_data(as_thumbnail(self.png))


def make_report(folder: Path) -> Path:
    """(Re)make report/index.html and the picture of each stack from a workspace; returns the page.

    Raises WorkspaceError where no run has told its story. A product that cannot be read is named on the
    index instead of being shown.
    """
    folder = Path(folder)
    summary = read_summary(folder)
    (folder / "report").mkdir(parents=True, exist_ok=True)
    pages = name_pages(summary.products)
    common = {
        "summary": summary,
        "decisions": _by_subject(summary.decisions),
        "flats": figures.draw_flats(folder, summary.products),
        "pages": pages,
        "steps": list_steps(summary),
        "place": str(folder),
    }
    give_back()
    entries, unreadable = [], []
    # The index comes last: where it stands, all the other pages do.
    for product, name in sorted(pages.items(), key=lambda entry: entry[1] == "index.html"):
        try:
            entries.append(_make_page(folder, product, name, summary, common))
        except (BadFile, FileNotFoundError) as error:
            unreadable.append((product.path, str(error)))
    index = folder / "report/index.html"
    if index.name not in [entry.page for entry in entries]:
        write_atomically(index, render("index.html", entries=entries, unreadable=unreadable, **common))
    return index


def name_pages(products: Iterable[Product]) -> dict[Product, str]:
    """The page of each stack: the only science stack is the index itself."""
    stacks = [p for p in products if p.path.endswith("_image.fits") and p.kind in ("stack", "standard")]
    science = [product for product in stacks if product.kind == "stack"]
    return {p: "index.html" if science == [p] else f"{Path(p.path).stem}.html" for p in stacks}


def _make_page(
    folder: Path, product: Product, name: str, summary: RunSummary, common: dict[str, Any]
) -> Entry:
    stack = read_stack(folder / product.path)
    used = {exposure.name for exposure in summary.exposures if exposure.group == product.group}
    left_out = sum(exclusion.name in used for exclusion in summary.exclusions)
    quality = measure(stack)
    verdicts = judge(quality, corrected=product.kind == "stack", warnings=summary.warnings, left_out=left_out)
    code = choose_code(stack)
    with ThreadPoolExecutor(1) as beside:  # cutting and packing hold the interpreter's lock for moments only
        tiles = beside.submit(cut_tiles, stack, code)
        picture = pictures.draw_stack(stack)
        facts = _tell(folder, stack, quality, summary, product)
        names = _write_beside(folder / "report", stack, picture)
    page = render(
        "page.html",
        product=product,
        title=product.group or stack.path.stem,
        verdicts=verdicts,
        picture=as_data(picture),
        viewer_facts=tell_facts(stack, code),
        tiles=tiles.result(),
        beside=names,
        **facts,
        **common,
    )
    write_atomically(folder / "report" / name, page)
    give_back()
    return Entry(product, name, picture, verdicts)


def _tell(
    folder: Path, stack: Stack, quality: Quality, summary: RunSummary, product: Product
) -> dict[str, Any]:
    """The figures and tables of a stack's page."""
    depth = [
        *figures.draw_maps(stack, quality),
        figures.draw_noise(stack),
        figures.draw_growth(stack, quality.scale),
    ]
    return {
        "depth": present(depth),
        "sky": figures.draw_sky(folder, summary, product.group),
        "sky_choice": [(name, stack.text(key)) for key, name in SKY.items() if stack.text(key)],
        "exposures": present([figures.draw_exposures(stack), figures.draw_residuals(stack)]),
        "made": tell_made(stack),
        "each": list_exposures(stack),
        "mask": list_bits(stack),
        "provenance": {table: _rows(stack, table, names) for table, names in PROVENANCE.items()},
        "header": [(key, stack.text(key)) for key in SHOWN if stack.text(key)],
    }


def _write_beside(place: Path, stack: Stack, picture: bytes) -> list[str]:
    """Write the stack's picture and catalogues beside its page; returns their names."""
    path = place / f"stack_{stack.path.stem}.png"
    write_atomically(path, picture)
    return [path.name, *(beside.name for beside in write_catalogues(stack, place))]


def _by_subject(decisions: Iterable[Decision]) -> dict[str, list[Decision]]:
    """Decisions by what they are about, each told once, in the order in which they were taken."""
    found: dict[str, list[Decision]] = {}
    for decision in dict.fromkeys(decisions):
        found.setdefault(decision.about or "the whole run", []).append(decision)
    return found


def _rows(stack: Stack, table: str, names: Sequence[str]) -> list[list[str]]:
    """Some columns of a product's table as text, nothing where it has not all of them."""
    columns = [values for name in names if (values := column(stack.tables.get(table), name)) is not None]
    if len(columns) != len(names):
        return []
    return [[str(value).strip() for value in row] for row in zip(*columns, strict=True)]


def present(drawn: Iterable[figures.Figure | None]) -> list[figures.Figure]:
    """The figures that could be drawn."""
    return [figure for figure in drawn if figure is not None]


def render(template: str, **facts: Any) -> str:
    """A page of HTML from its template."""
    return _environment().get_template(template).render(**facts)


def mark_options(text: str) -> Markup:
    """Text as HTML in which options of commands, with the file they take, are never broken."""
    from markupsafe import Markup, escape

    return Markup(OPTION.sub(r'<code class="option">\g<0></code>', str(escape(text))))  # noqa: S704 - escaped


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("goafetch.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["options"] = mark_options
    files = resources.files("goafetch.report") / "templates"
    for name in ("style.css", "viewer.js"):
        key = name.replace(".", "_")
        environment.globals[key] = (files / name).read_text(encoding="utf-8")
    return environment
