"""The tutorial's ``disco``: align exposures, correct their distortion, stack them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goafetch.api import logutils
from goafetch.api.dataselect import describe_files, expand
from goafetch.api.reduce import Task, reduce_files
from goafetch.catalog import MAGNITUDES, POSITIONS
from goafetch.errors import UsageError
from goafetch.events import Decided, Event, Notify, silent
from goafetch.pipeline.catalogues import archive_table
from goafetch.workspace import Workspace

if TYPE_CHECKING:
    from reducer.headers.descriptors import Descriptors

#: Which parameter each field of a MatchInfo sets, of the steps of object and of reference matching.
MATCH = {
    "offset_radius": "first_pass",
    "match_radius": "final",
    "min_matches": "min_matches",
    "degree": "order",
}


def disco(
    infiles: Iterable[str | Path],
    output_identifier: str = "disco_stack",
    objmatch_info: Any = None,
    refmatch_info: Any = None,
    pixel_scale: float | None = None,
    skysub: bool = False,
    catalog: str | None = None,
    phot_catalog: str | None = None,
    standards: str | Path | None = None,
    parameters: Sequence[tuple[str, Any]] = (),
    notify: Notify = silent,
) -> Path:
    """Stack sky-subtracted exposures; the path of ``<output_identifier>.fits``.

    ``objmatch_info`` and ``refmatch_info`` have the fields offset_radius and match_radius (arcsec),
    min_matches and degree, each None for the usual value: how exposures are matched with each other, and
    with the ``catalog``. ``pixel_scale``: arcsec per pixel of the stack. ``skysub`` is told to change
    nothing: what is left of the sky between exposures is always solved for. ``phot_catalog``: magnitudes of
    stars of the field. ``standards``: a table of magnitudes of standards, or the stack of one; without it
    the zeropoint is that of the standard's stack beside the files. ``parameters``: of any step,
    ('step:name', value), before all else. ``notify`` is told all that is told to the log. Raises UsageError
    for exposures of several filters.
    """
    from reducer.recipes import parse

    output, files = named(output_identifier), expand(infiles)
    # What cannot be meant is refused before anything is begun.
    parse([*stack_parameters(objmatch_info, refmatch_info, pixel_scale, {}), *parameters])
    refuse_mixed(files)
    with (
        logutils.telling() as log,
        tempfile.TemporaryDirectory(
            dir=output.parent,
            prefix=".disco-",
            ignore_cleanup_errors=True,  # open files, on network disks
        ) as scratch,
    ):

        def tell(event: Event, /) -> None:
            log(event)
            notify(event)

        if skysub:
            tell(Decided("skysub=True changes nothing", "residual sky is always solved for"))
        places = (files[0], Path(scratch), tell) if files else None
        stars = {
            "determineAstrometricSolution:catalog": places and stars_for(POSITIONS, catalog, *places),
            "measureZeropoint:catalog": places and stars_for(MAGNITUDES, phot_catalog, *places),
            **(zeropoint_sources(files[0], standards, tell) if files else {}),
        }
        task = Task(
            files=files,
            recipe="alignAndStack",
            parameters=[*stack_parameters(objmatch_info, refmatch_info, pixel_scale, stars), *parameters],
            folder=Path(scratch),
        )
        (made,) = reduce_files(task, tell)
        return made.rename(output)


def refuse_mixed(files: Sequence[Path]) -> None:
    """UsageError, with the names, for files of several filters."""
    filters: dict[str, list[str]] = {}
    for path, facts in describe_files(files)[0]:
        filters.setdefault(facts.filter or "unknown", []).append(path.name)
    if len(filters) > 1:
        found = "; ".join(f"{name}: {', '.join(names)}" for name, names in sorted(filters.items()))
        raise UsageError(f"exposures of several filters ({found})", "one filter", "stack each by itself")


def stars_for(
    words: Mapping[str, tuple[str, ...]], wanted: str | None, first: Path, folder: Path, tell: Notify
) -> str | None:
    """The file of stars that a word of ``words`` or a file's name means (see ``goafetch.catalog``)."""
    from goafetch.catalog import find_stars
    from reducer.fitsio import read_headers

    if not wanted:
        return None
    header, _ = read_headers(first)
    found = find_stars(words, wanted, float(header["RA"]), float(header["DEC"]), folder, tell)
    return str(found) if found else None


def zeropoint_sources(first: Path, standards: str | Path | None, tell: Notify) -> dict[str, str]:
    """What the zeropoint is taken from, as parameters: a table or a standard's stack that is named, else
    what lies beside the files: a standard's stack, and the archive's magnitudes in a workspace's lock."""
    if standards:
        name = "standard" if zeropoint_of(Path(standards)) else "standards"
        return {f"measureZeropoint:{name}": str(standards)}
    from reducer.select import describe_file

    facts = describe_file(first)
    found = {}
    archive = archive_table(Workspace(first.absolute().parent.parent))
    if archive:
        found["measureZeropoint:archive"] = str(archive)
    stack = standard_beside(first, facts) if facts.observation_class == "science" else None
    if stack:
        found["measureZeropoint:standard"] = str(stack)
        tell(Decided(f"zeropoint by {stack.name}", "the standard's stack of the same filter"))
    return found


def standard_beside(first: Path, facts: Descriptors) -> Path | None:
    """The stack of a standard with a zeropoint in a file's folder: of its filter, nearest in time."""
    stacks = {path: zeropoint_of(path) for path in sorted(first.parent.glob("*.fits"))}
    known = [
        (abs(other.ut_datetime - facts.ut_datetime), path)
        for path, other in stacks.items()
        if other and other.observation_class != "science" and other.filter == facts.filter
        if other.ut_datetime and facts.ut_datetime
    ]
    return min(known)[1] if known else None


def zeropoint_of(path: Path) -> Descriptors | None:
    """The descriptors of a stack that has a zeropoint; None for any other file."""
    from reducer.errors import BadFile
    from reducer.select import describe_file

    try:
        facts = describe_file(path)
    except BadFile:
        return None
    return facts if "PHOTZP" in facts.primary else None


def stack_parameters(
    objects: Any, reference: Any, pixel_scale: float | None, stars: Mapping[str, str | None]
) -> list[tuple[str, Any]]:
    """The parameters of the recipe, those that are not None."""
    steps = {"adjustWCSToReference": objects, "determineAstrometricSolution": reference}
    wanted = [
        (f"{step}:{name}", getattr(given, field, None))
        for step, given in steps.items()
        for field, name in MATCH.items()
    ]
    wanted.append(("resampleToCommonFrame:pixel_scale", pixel_scale))
    wanted += stars.items()
    return [(name, value) for name, value in wanted if value is not None]


def named(identifier: str) -> Path:
    """The file that an identifier means: with .fits at its end."""
    return Path(identifier if identifier.endswith(".fits") else f"{identifier}.fits")
