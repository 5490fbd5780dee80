"""Put the report together: one page for each stack, and an index where there are several."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goafetch.engine.memory import give_back
from goafetch.report.drawing import figures
from goafetch.report.drawing.draw import as_data, as_thumbnail
from goafetch.report.drawing.figures import Figure
from goafetch.report.drawing.parts import Parts, Submit, begin_parts
from goafetch.report.model import Decision, Product, RunSummary, read_summary
from goafetch.report.repeat import list_steps
from goafetch.report.verdict import Verdict, judge
from goafetch.workspace import write_atomically
from reducer.errors import BadFile

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

#: An option of a command in a sentence.
OPTION = re.compile(r"--[a-z]+(-[a-z]+)*( FILE)?")


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
    stacks = [p for p in products if p.path.endswith("_image.fits") and p.kind in ("stack", "standard")]
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
        sky = submit(figures.draw_sky, *figures.list_skies(folder, summary, product.group))
        if ahead:
            yield ahead
        ahead = Page(product, name, parts, sky)
    if ahead:
        yield ahead


def count_left_out(summary: RunSummary, group: str) -> int:
    """How many exposures of a group were left out, under the names of their raw files or of what was made of
    them before a step refused it."""
    used = {_stem(exposure.name) for exposure in summary.exposures if exposure.group == group}
    return len(used & {_stem(exclusion.name) for exclusion in summary.exclusions})


def _stem(name: str) -> str:
    return name.split(".")[0].split("_")[0]


def _make_page(folder: Path, page: Page, common: dict[str, Any]) -> Entry:
    summary: RunSummary = common["summary"]
    product, view, findings = page.product, page.parts.view.result(), page.parts.findings.result()
    left_out = count_left_out(summary, product.group)
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
    give_back()
    return Entry(product, page.name, view.picture, verdicts)


def _by_subject(decisions: Iterable[Decision]) -> dict[str, list[Decision]]:
    """Decisions by what they are about, each told once, in the order in which they were taken."""
    found: dict[str, list[Decision]] = {}
    for decision in dict.fromkeys(decisions):
        found.setdefault(decision.about or "the whole run", []).append(decision)
    return found


def render(template: str, **facts: Any) -> str:
    """A page of HTML from its template; names of files that are no text are told in escapes."""
    page = _environment().get_template(template).render(**facts)
    return page.encode("utf-8", "backslashreplace").decode()


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
