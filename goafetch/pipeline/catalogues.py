"""Stars with known places and magnitudes for a run's stacks: files, and catalogues sought beside the work."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from calstore import associate as calstore
from calstore.associate import Calibration, Match, NoMatch, best
from goafetch import catalog
from goafetch.catalog import MAGNITUDES, POSITIONS, SERVER
from goafetch.errors import UsageError
from goafetch.events import Decided, Event, Notify, listener
from goafetch.needs import need
from goafetch.plan.plan import SCIENCE, STANDARD, Stack
from goafetch.plan.visits import apart
from goafetch.workspace import Workspace, md5_of, write_atomically

#: The folder of playground/ in which catalogues are kept.
FOLDER = "catalogs"
#: Seconds that a stack waits for a catalogue that was reached but has not come.
LONGEST = 30.0
Place = tuple[float, float]


@dataclass(frozen=True)
class Choices:
    """What the user wants positions and magnitudes from: words of ``--catalog`` and such, or files."""

    catalog: str = "auto"
    phot_catalog: str = "auto"
    standards: str | None = None

    def check(self) -> None:
        """Read the files that are named: UsageError or BadFile, before anything is done, if one is no use."""
        from reducer.references import read_references, read_standards

        for option, wanted, words in (
            ("--catalog", self.catalog, POSITIONS),
            ("--phot-catalog", self.phot_catalog, MAGNITUDES),
        ):
            if wanted not in words and not Path(wanted).is_file():
                raise UsageError(f"{option} {wanted} is no file", f"a file, or one of {', '.join(words)}")
        if self.catalog not in POSITIONS:
            read_references(Path(self.catalog), 2000.0)
        if self.phot_catalog not in MAGNITUDES:
            read_standards(Path(self.phot_catalog))
        if self.standards:
            if not Path(self.standards).is_file():
                raise UsageError(f"--standards {self.standards} is no file", "a file with magnitudes")
            read_standards(Path(self.standards))


@dataclass(frozen=True)
class Given:
    """Parameters of a stack's steps that name files, and what a product's key says of their content."""

    parameters: Mapping[str, Mapping[str, Any]]
    contents: Mapping[str, str]


@dataclass
class CatalogueSearch:
    """The files for each stack of a plan, sought in a thread of its own."""

    choices: Choices
    workspace: Workspace
    server: str = SERVER
    _standards: tuple[Stack, ...] = ()
    _places: dict[Stack, Place | None] = field(default_factory=dict)
    _said: list[Event] = field(default_factory=list)
    _thread: threading.Thread | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, stacks: Iterable[Stack], *, seek: bool = True) -> None:
        """Begin to seek the catalogues of a plan's stacks in a thread; not at all with ``seek`` False."""
        stacks = tuple(stacks)
        self._standards = tuple(stack for stack in stacks if stack.kind == STANDARD)
        self._places = {stack: _place_of(stack) for stack in stacks}
        if seek:
            self._thread = threading.Thread(target=self._seek, daemon=True)
            self._thread.start()

    def standard_of(self, stack: Stack) -> Stack | None:
        """The standard's stack whose zeropoint a science stack takes, by the store's rule."""
        answer = self._standard_for(stack)
        return self._standards[int(answer.calibration.path)] if isinstance(answer, Match) else None

    def _standard_for(self, stack: Stack) -> Match | NoMatch | None:
        """What the rule says of the standards, by their place in the plan; None where none matters."""
        if stack.kind != SCIENCE or not self._standards:
            return None
        sought = need(calstore.STANDARD, when=stack.groups[0].when, **stack.setup.traits)
        offered = (
            Calibration(
                kind=calstore.STANDARD,
                path=f"{place:06d}",
                when=standard.groups[0].when,
                **standard.setup.traits,
            )
            for place, standard in enumerate(self._standards)
        )
        return best(sought, offered)

    def of_stack(
        self,
        stack: Stack,
        parameters: Mapping[str, Mapping[str, Any]],
        notify: Notify,
        standard: tuple[Path, str] | None = None,
    ) -> Given:
        """What a stack's steps are given: the files, beside the user's own parameters, which win.

        ``standard``: the stack of the standard and its key.
        """
        self._await(notify)
        self._tell_far_standards(stack, notify)
        files = self._files(stack)
        reference = parameters.get("resampleToCommonFrame", {}).get("reference")
        if reference:
            files["resampleToCommonFrame", "reference"] = None  # the user's own, by its content
            if self.choices.catalog == "auto":  # pixels agree as well as coordinates do
                files["determineAstrometricSolution", "catalog"] = Path(reference)
        own = [parameters.get(step, {}).get(name) for step, name in files]
        contents = {
            f"{step}:{name}": md5_of(Path(str(mine or path)))
            for ((step, name), path), mine in zip(files.items(), own, strict=True)
            if (mine or path) and Path(str(mine or path)).is_file() and name != "standard"
        }
        if standard:
            files["measureZeropoint", "standard"] = standard[0]
            contents["measureZeropoint:standard"] = standard[1]
        merged = {step: dict(values) for step, values in parameters.items()}
        if reference:
            merged["resampleToCommonFrame"]["reference"] = str(Path(reference).absolute())
        for (step, name), path in files.items():
            if path is not None:  # the product tells of them, wherever it is read
                merged.setdefault(step, {}).setdefault(name, str(path.absolute()))
        return Given(merged, contents)

    def _tell_far_standards(self, stack: Stack, notify: Notify) -> None:
        """Say which standards of the filter the rule keeps from a stack that gets none."""
        answer = self._standard_for(stack)
        for lost in answer.rejected if isinstance(answer, NoMatch) else ():
            if lost.calibration.filter_name == stack.setup.filter:
                name = self._standards[int(lost.calibration.path)].name
                notify(Decided(f"no zeropoint from {name} for {stack.name}", lost.reason))

    def _files(self, stack: Stack) -> dict[tuple[str, str], Path | None]:
        place = self._places.get(stack)
        standards = self.choices.standards
        return {
            ("determineAstrometricSolution", "catalog"): self._kept(POSITIONS, self.choices.catalog, place),
            ("measureZeropoint", "catalog"): self._kept(MAGNITUDES, self.choices.phot_catalog, place),
            ("measureZeropoint", "standards"): Path(standards).absolute() if standards else None,
            ("measureZeropoint", "archive"): archive_table(self.workspace),
        }

    def _kept(self, words: Mapping[str, tuple[str, ...]], wanted: str, place: Place | None) -> Path | None:
        if wanted not in words:
            return Path(wanted).absolute()
        return catalog.cached_stars(words[wanted], *place, self._folder) if place else None

    @property
    def _folder(self) -> Path:
        return self.workspace.playground / FOLDER

    def _seek(self) -> None:
        """Fetch what is missing; where the network is not there, find that out once."""
        words = (POSITIONS.get(self.choices.catalog, ()), MAGNITUDES.get(self.choices.phot_catalog, ()))
        places = dict.fromkeys(place for place in self._places.values() if place)
        missing = [
            (names, place)
            for place in places
            for names in words
            if names and catalog.cached_stars(names, *place, self._folder) is None
        ]
        if missing and (trouble := catalog.why_not_reachable(self.server)):
            tell = listener(self._said.append)
            tell("catalogs_not_fetched", why=trouble)
            return
        for names, place in missing:
            catalog.fetch_stars(names, *place, self._folder, self._said.append, self.server)

    def _await(self, notify: Notify) -> None:
        """Wait for the search to end, and say once how it went."""
        with self._lock:
            if self._thread is not None:
                self._thread.join(LONGEST)
            told, self._said = list(self._said), []
        for event in told:
            notify(event)


def archive_table(workspace: Workspace) -> Path | None:
    """A table of the magnitudes that the archive's records gave, which the workspace's lock keeps; None for
    none."""
    from goafetch.archive.lock import Lock

    lock = Lock.read(workspace.lock_file)
    stars = {star["name"]: star for file in lock.files.values() for star in file.standards} if lock else {}
    if not stars:
        return None
    columns = ("name", "ra", "dec", "z_mag", "j_mag", "h_mag", "k_mag")
    rows = [
        [str(star.get(c) if star.get(c) is not None else "nan") for c in columns] for star in stars.values()
    ]
    path = workspace.playground / FOLDER / "archive_standards.csv"
    text = "\n".join(",".join(row) for row in (list(columns), *rows)) + "\n"
    if not path.exists() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text)
    return path


def shows_another_field(reference: Path, stack: Stack) -> bool:
    """Whether a stack lies farther from the pixels of another one than a field is wide."""
    from reducer.astrometry import read_wcs
    from reducer.fitsio import open_frame

    frame, place = open_frame(reference), _place_of(stack)
    wcs = read_wcs(frame.chips[0]) if frame.chips else None
    if wcs is None or place is None:
        return False  # the step says what is wrong with it
    ra, dec = wcs.to_sky(*(np.array(frame.chips[0][key]) / 2 for key in ("NAXIS1", "NAXIS2")))
    away = apart(place, (float(ra), float(dec)))
    return away is not None and 3600 * away > frame.instrument.field.side


def _place_of(stack: Stack) -> Place | None:
    """Where a stack's first exposure points, degrees."""
    from reducer.fitsio import read_headers
    from reducer.headers.descriptors import describe

    primary, chips = read_headers(stack.groups[0].frames[0])
    facts = describe(primary, chips)
    if facts.target_ra is None or facts.target_dec is None:
        return None
    return facts.target_ra, facts.target_dec
