"""What a paper with a run's images acknowledges and cites: data, instruments, catalogues, software."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import groupby
from pathlib import Path
from string import digits

from goafetch import __version__
from goafetch.report.run_summary import RunSummary
from goafetch.workspace import write_atomically
from reducer.errors import BadFile
from reducer.fitsio import read_headers
from reducer.instruments import instrument_of
from reducer.products import STACK
from reducer.types import Header

#: As the observatory words it: noirlab.edu/science/about/scientific-acknowledgments.
GEMINI = (
    "Based on observations obtained at the international Gemini Observatory, a program of NSF NOIRLab, "
    "{archive}and processed using goafetch {version}, which is managed by the Association of Universities "
    "for Research in Astronomy (AURA) under a cooperative agreement with the U.S. National Science "
    "Foundation on behalf of the Gemini Observatory partnership: the U.S. National Science Foundation "
    "(United States), National Research Council (Canada), Agencia Nacional de Investigación y Desarrollo "
    "(Chile), Ministerio de Ciencia, Tecnología e Innovación (Argentina), Ministério da Ciência, Tecnologia, "
    "Inovações e Comunicações (Brazil), and Korea Astronomy and Space Science Institute (Republic of Korea)."
)
ARCHIVE = "acquired through the Gemini Observatory Archive at NSF NOIRLab "
#: The files beside the report.
TEXT, BIBTEX = "acknowledgement.txt", "references.bib"

Reference = Mapping[str, str]


@dataclass(frozen=True)
class Citation:
    """What is to be acknowledged, which data were used, and the papers to cite."""

    acknowledgement: str
    data: str
    papers: Sequence[Reference]

    @property
    def lines(self) -> list[str]:
        """The papers as a list of references has them: 'Rigaut et al. 2014, MNRAS 437, 2361', and the DOI."""
        return [_as_line(paper) for paper in self.papers]

    @property
    def bibtex(self) -> str:
        """The papers for BibTeX."""
        return "\n".join(map(_as_bibtex, self.papers))


def cite(folder: Path, summary: RunSummary) -> Citation:
    """What a run's images ask for, from the headers of its stacks."""
    headers = [*_stack_headers(folder, summary)]
    used = {str(header.get(key, "")).lower() for header in headers for key in ("ASTRCAT", "PHOTCAT")}
    general = _general()
    instruments = {found.name: found for found in map(instrument_of, headers)}
    groups: list[Sequence[Reference]] = [found.references for found in instruments.values()]
    groups += [general["archive"]] if summary.archive else []
    groups += [general[name] for name in ("gaia", "2mass") if any(name in each for each in used)]
    papers = [paper for group in [*groups, general["software"]] for paper in group]
    thanks = GEMINI.format(archive=ARCHIVE if summary.archive else "", version=summary.version or __version__)
    programs = dict.fromkeys(str(header["GEMPRGID"]) for header in headers if header.get("GEMPRGID"))
    files = sorted({row.name.split(".")[0] for row in summary.exposures if row.stack})
    data = f"{', '.join(programs) or summary.program}: {', '.join(in_ranges(files)) or 'no exposures'}"
    return Citation(thanks, data, papers)


def write_citation(folder: Path, citation: Citation) -> None:
    """The acknowledgement and the papers, as files to take into a manuscript."""
    text = f"{citation.acknowledgement}\n\nData: {citation.data}\n\n" + "\n".join(citation.lines) + "\n"
    write_atomically(folder / TEXT, text)
    write_atomically(folder / BIBTEX, citation.bibtex)


def in_ranges(names: Iterable[str]) -> list[str]:
    """Names of files whose numbers follow each other, shortened: 'S20170505S0095-0101'."""
    found = []
    stems = [(name.rstrip(digits), name) for name in names]
    split = [(stem, name.removeprefix(stem)) for stem, name in stems]
    for _, run in groupby(enumerate(split), key=lambda item: (item[1][0], int(item[1][1] or 0) - item[0])):
        (stem, first), *_, (_, last) = [pair for _, pair in run] * 2
        found.append(f"{stem}{first}" if first == last else f"{stem}{first}-{last}")
    return found


def _stack_headers(folder: Path, summary: RunSummary) -> Iterable[Header]:
    """The primary headers of the stacks that can be read: the index names the others."""
    for product in summary.products:
        if product.kind in ("stack", "standard") and product.path.endswith(f"{STACK}.fits"):
            try:
                yield read_headers(folder / product.path)[0]
            except (BadFile, FileNotFoundError):
                continue


@cache
def _general() -> Mapping[str, Sequence[Reference]]:
    found: Mapping[str, Sequence[Reference]] = json.loads(
        resources.files("goafetch.report").joinpath("references.json").read_text(encoding="utf-8")
    )
    return found


def _as_line(paper: Reference) -> str:
    place = paper.get("journal") or paper["series"]
    line = f"{_authors(paper)} {paper['year']}, {place} {paper['volume']}, {paper['pages']}"
    return (line + (f", doi:{paper['doi']}" if "doi" in paper else "")).replace("\\&", "&")


def _authors(paper: Reference) -> str:
    """'Bertin & Arnouts', or the first with 'et al.'."""
    names = [name.split(",")[0].strip("{}") for name in paper["author"].split(" and ")]
    if len(names) == 1:
        return names[0]
    return f"{names[0]} & {names[1]}" if len(names) == 2 and names[1] != "others" else f"{names[0]} et al."


def _as_bibtex(paper: Reference) -> str:
    kind = "article" if "journal" in paper else "inproceedings"
    fields = [
        f"  {name} = {{{f'{{{value}}}' if name == 'title' else value}}}"
        for name, value in paper.items() if name != "key"
    ]  # fmt: skip
    return f"@{kind}{{{paper['key']},\n" + ",\n".join(fields) + "\n}\n"
