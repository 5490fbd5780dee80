"""Put the report together: one page for each stack, and an index where there are several."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from goafetch.events import Event
from goafetch.process import trim_memory
from goafetch.report.drawing import figures
from goafetch.report.drawing.draw import as_data, as_thumbnail
from goafetch.report.drawing.figures import Figure
from goafetch.report.drawing.parts import Parts, Submit, begin_parts
from goafetch.report.export import list_steps
from goafetch.report.html import render
from goafetch.report.model import Product, RunSummary, read_summary
from goafetch.report.verdict import Verdict, judge
from goafetch.workspace import write_atomically
from reducer.errors import BadFile
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
    """A page whose pictures are under way: its product, its file's name, its parts, and the sky's level."""

    product: Product
    name: str
    parts: Parts
    sky: Future[Figure | None]


def make_report(
    folder: Path, submit: Submit | None = None, begun: Mapping[Path, Parts] | None = None
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
    flats = [submit(figures.draw_flat, *about) for about in figures.list_flats(folder, summary.products)]
    waiting = _begin(folder, summary, pages, submit, begun or {})
    common = {
        "summary": summary,
        "decisions": _by_subject(summary.decisions),
        "flats": [flat.result() for flat in flats],
        "pages": pages,
        "steps": list_steps(summary, folder),
        "place": str(folder),
    }
    entries, unreadable = [], []
    for page in waiting:
        try:
            entries.append(_make_page(folder, page, common))
        except (BadFile, FileNotFoundError) as error:
            unreadable.append((page.product.path, str(error)))
    index = folder / "report/index.html"
    if index.name not in [entry.page for entry in entries]:
        write_atomically(index, render("index.html", entries=entries, unreadable=unreadable, **common))
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
    begun: Mapping[Path, Parts],
) -> Iterator[Page]:
    """Have the pages drawn, each while the one before it is written; many at once would not fit in memory.

    The index comes last: where it stands, all the other pages do.
    """
    ahead: Page | None = None
    for product, name in sorted(pages.items(), key=lambda entry: entry[1] == "index.html"):
        path = folder / product.path
        parts = begun.get(path) or begin_parts(path, folder / "report", submit)
        sky = submit(figures.draw_sky, *figures.list_skies(folder, summary, product.stack))
        if ahead:
            yield ahead
        ahead = Page(product, name, parts, sky)
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
    verdicts = judge(findings.quality, corrected=corrected, warnings=summary.warnings, left_out=left_out)
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
