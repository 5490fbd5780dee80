"""A run for other tools: its steps as lists and commands, calibrations in DRAGONS' form, catalogues."""

from __future__ import annotations

import io
import json
import os
import shlex
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calstore.associate import PROCESSED_BPM, PROCESSED_DARK, PROCESSED_FLAT
from goafetch.errors import WorkspaceError
from goafetch.events import SkyChoice
from goafetch.events import what as words_of
from goafetch.report.catalogue_files import write_catalogue
from goafetch.report.pictures import find_sky
from goafetch.report.run_summary import Product, RunSummary, read_summary
from goafetch.report.stack_file import StackFile, bands, read_stack
from goafetch.report.verdicts import pixel_scale
from goafetch.text import file_name
from goafetch.workspace import Workspace, write_atomically
from reducer import dq
from reducer.products import STACK

#: What a list holds: raw files, products, or files that an earlier command of DRAGONS has made beside it.
RAW, MADE, BESIDE = "raw", "made", "beside"


@dataclass(frozen=True)
class FileList:
    """A list as the tutorial writes them: its ``name``, its ``kind`` and the files.

    ``files``: names of raw files where ``kind`` is 'raw'; of products, relative to the workspace, if 'made';
    as they stand if 'beside'.
    """

    name: str
    kind: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class ExportedStep:
    """One step of a run: what it does, its list, and the command for either tool, typed beside the list.

    ``dragons`` are perhaps several lines; ``found``: the list that the later ones need.
    """

    what: str
    files: FileList
    goafetch: str
    dragons: str
    found: FileList | None = None


def list_steps(summary: RunSummary, folder: Path, into: Path | None = None) -> list[ExportedStep]:
    """Every step of a run in the order of work: darks, flats, frames of each group, stacks, standards first.

    The files of stars that a stack of the workspace ``folder`` was made with are named as from ``into``.
    """
    raw: dict[str, list[str]] = {}
    for exposure in summary.exposures:
        raw.setdefault(exposure.group, []).append(exposure.name)
    kinds = {product.group: product.kind for product in summary.products}
    stages = {name: {"dark": "darks", "flat": "flats"}.get(kinds.get(name, ""), "frames") for name in raw}
    options = {
        stage: _options(summary, stage, as_typed(summary.parameters), into)
        for stage in ("darks", "flats", "frames")
    }
    ordered = sorted(raw, key=lambda name: list(options).index(stages[name]))
    frames = [
        _reduce_step(summary, name, raw[name], stages[name] != "frames", options[stages[name]])
        for name in ordered
    ]
    stacks = [product for product in summary.products if product.path.endswith(f"{STACK}.fits")]
    stacks.sort(key=lambda product: product.kind != "standard")
    is_own = stacks_apart(summary)
    made = {str((folder / each.path).absolute()): _stack_name(each, is_own) for each in stacks}

    def place(value: str) -> str:
        """A file as it is called from where the commands are typed; any other value as it is."""
        if value in made:
            return made[value]
        return os.path.relpath(value, into.absolute()) if into and Path(value).is_file() else value

    def options_of(stack: Product) -> str:
        typed = settings(folder / stack.path, place)
        if not is_own:
            return as_options(typed)
        return _options(summary, "stacks", [*typed, *_own_parameters(summary)], into)

    return [*frames, *(_stack_step(summary, stack, is_own, options_of(stack)) for stack in stacks)]


def stacks_apart(summary: RunSummary) -> bool:
    """Whether the stacks have a recipe of the user's own that does not begin with the frames: that one makes
    a stack in the command that makes its frames."""
    own = summary.recipes.get("stacks")
    return own is not None and own != summary.recipes.get("frames")


def _options(summary: RunSummary, stage: str, typed: Iterable[str], into: Path | None) -> str:
    """The recipe of a stage, if it is the user's own, and the parameters that it knows, as they are typed."""
    recipe, own = summary.recipes.get(stage, ""), _own_parameters(summary)
    file, colon, name = recipe.rpartition(":")
    if colon and into:
        recipe = f"{os.path.relpath(file, into.absolute())}:{name}"
    chosen = f" -r {shlex.quote(recipe)}" if recipe else ""
    return chosen + as_options(text for text in typed if colon or text not in own)


def _own_parameters(summary: RunSummary) -> list[str]:
    """What the user set of steps that a recipe's file alone has."""
    from reducer.recipes import STEPS

    return as_typed({step: chosen for step, chosen in summary.parameters.items() if step not in STEPS})


def as_options(typed: Iterable[str]) -> str:
    """Parameters as options of a command."""
    return "".join(f" -p {shlex.quote(text)}" for text in typed)


def settings(stack: Path, place: Callable[[str], str]) -> list[str]:
    """The parameters that a stack was made with where they are not the usual, as STEP:PARAM=VALUE.

    None are known of a product that cannot be read.
    """
    from reducer.errors import BadFile
    from reducer.fitsio import read_headers, read_table
    from reducer.instruments import find_instrument
    from reducer.recipes import alignAndStack
    from reducer.step import steps_of

    try:
        history, instrument = read_table(stack, "HISTORY"), find_instrument(read_headers(stack)[0])
    except BadFile:
        history = None
    if history is None:
        return []
    args = {str(row["primitive"]): json.loads(str(row["args"])) for row in history}
    return [
        f"{name}:{parameter}={place(str(value))}"
        for name, step in steps_of(alignAndStack).items()
        for parameter, value in args.get(name, {}).items()
        if parameter in step.parameters and not step.is_usual(parameter, value, instrument)
    ]


def as_typed(parameters: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What the user set when the run was made, as STEP:PARAM=VALUE."""
    return [
        f"{step}:{name}={','.join(map(str, value)) if isinstance(value, tuple | list) else value}"
        for step, chosen in parameters.items()
        for name, value in chosen.items()
    ]


def _reduce_step(
    summary: RunSummary, group: str, names: Sequence[str], is_master: bool, ours: str
) -> ExportedStep:
    listed = FileList(f"{file_name(group)}.lis", RAW, tuple(names))
    what = f"Master {group}" if is_master else f"Frames of {group}"
    choices = (d for d in summary.decisions if isinstance(d, SkyChoice) and d.group == group)
    chosen, theirs = next(choices, None), "" if is_master else " -p prepare:bad_wcs=fix"
    differs = _differs(chosen) if chosen else ""
    if chosen:  # DRAGONS cannot decide this: it gets what comes nearest to what was decided here
        is_scaled, is_offset = chosen.scale_sky, chosen.offset_sky and not chosen.scale_sky
        theirs += f" skyCorrect:offset_sky={is_offset}" + (" skyCorrect:scale_sky=True" if is_scaled else "")
    return ExportedStep(
        what, listed, f"goafetch reduce @{listed.name}{ours}", f"{differs}reduce @{listed.name}{theirs}"
    )


def _differs(choice: SkyChoice) -> str:
    """A comment on what DRAGONS does otherwise with the sky's level; '' where it does the same."""
    if choice.weighed:
        return f"# nearest to: {words_of(choice)}\n"
    left = "takes the whole median; goafetch left in the"
    return (
        f"# offset_sky=True {left} {choice.light:g} electrons expected of objects\n" if choice.light else ""
    )


def _stack_name(stack: Product, is_own: bool) -> str:
    """What a stack is called where its command makes it: disco is told, a recipe has a name of its own."""
    return PurePosixPath(stack.path).name if is_own else f"{file_name(stack.group)}.fits"


def _stack_step(summary: RunSummary, stack: Product, is_own: bool, ours: str) -> ExportedStep:
    group = stack.group
    listed = FileList(f"{file_name(group)}_stack.lis", MADE, tuple(_on_target(summary, stack.stack)))
    # DRAGONS aligns by the sources that an earlier command of it has put into the files.
    names = (f"{PurePosixPath(name).name.split('_')[0]}_sourcesDetected.fits" for name in listed.files)
    found = FileList(f"{file_name(group)}_sources.lis", BESIDE, tuple(names))
    command = f"reduce @{listed.name}" if is_own else f"disco @{listed.name} -o {_stack_name(stack, is_own)}"
    return ExportedStep(
        f"Stack of {group}",
        listed,
        f"goafetch {command}{ours}",
        f"reduce @{listed.name} -r detectSources\nreduce @{found.name} -r alignAndStack",
        found,
    )


def _on_target(summary: RunSummary, stack: str) -> Iterable[str]:
    """The frames on target that go into a stack."""
    return (each.path for each in summary.products if (each.kind, each.stack) == ("on target", stack))


#: The order of a footprint's cells, 0.8 arcsec wide, and how far apart, in arcsec, pixels are looked at
#: within the field.
ORDER, APART = 18, 0.4


def write_footprint(stack: StackFile, folder: Path) -> list[Path]:
    """Write NAME_moc.fits: the part of the sky of which a stack has data, as a MOC; nothing without a WCS."""
    world, scale = stack.world(), pixel_scale(stack)
    if world is None or scale is None:
        return []
    path = folder / f"{stack.path.stem}_moc.fits"
    masks = [stack.rows(part, False).mask for part in bands(stack.shape[0])]
    write_atomically(path, as_footprint((np.concatenate(masks) & dq.NO_DATA) == 0, world, scale, stack.frame))
    return [path]


def as_footprint(has_data: NDArray[np.bool_], world: Mapping[str, float], scale: float, frame: str) -> bytes:
    """The MOC of all cells of the sky that hold the middle of a pixel with data, as FITS.

    ``has_data``: which pixels (ny, nx) of a stack have data; ``world``: its tangential projection; ``scale``:
    arcsec per pixel; ``frame``: of its coordinates, for a MOC is always ICRS.
    """
    from astropy.coordinates import SkyCoord
    from mocpy import MOC
    from scipy.ndimage import binary_erosion

    # Within the field a few pixels of each cell tell of it; of a cell on its edge one alone may have data.
    chosen = has_data & ~binary_erosion(has_data, np.ones((3, 3), bool))
    step = max(1, int(APART / scale))
    chosen[::step, ::step] = has_data[::step, ::step]
    y, x = np.nonzero(chosen)
    ra, dec = find_sky(world, *(np.asarray(axis + 1, float) for axis in (x, y)))
    places = SkyCoord(ra, dec, unit="deg", frame=frame.lower())
    page = io.BytesIO()
    MOC.from_skycoords(places, max_norder=ORDER).serialize("fits").writeto(page)
    return page.getvalue()


#: Where the kinds of calibration of a run's story lie below calibrations/.
FOLDERS = {"dark": PROCESSED_DARK, "flat": PROCESSED_FLAT, "mask": PROCESSED_BPM}

OURS = """\
#!/bin/sh
# Each step of the run again, with goafetch; products come to stand in this folder.
set -e
cd "$(dirname "$0")"
goafetch caldb add {calibrations}
"""
THEIRS = """\
#!/bin/sh
# The same steps with DRAGONS (3.1 or later), whose products come to stand in the folder dragons, where they
# take no other's name. Its own flats take the place of those in calibrations/.
set -e
cd "$(dirname "$0")"
export DRAGONSRC="$PWD/dragonsrc"
caldb init -w
caldb add {calibrations}
cd dragons
"""


def export(folder: Path, into: Path) -> list[Path]:
    """Write everything that another tool needs to go on; returns the files, in the order of work.

    ``into`` gets a .lis file for each step (those of DRAGONS in its folder dragons),
    calibrations/processed_flat and others, dragonsrc, the scripts goafetch.sh and dragons.sh, and each
    stack's footprint as MOC and its catalogue as ECSV, FITS, CSV, VOTable and ds9 regions. Files of another
    content there are replaced, others left alone. Raises WorkspaceError where no run has finished, or where
    a file of its story is no longer there.
    """
    summary = read_summary(folder)
    theirs = into / "dragons"
    theirs.mkdir(parents=True, exist_ok=True)
    steps = list_steps(summary, folder, into)
    lists = [_write_list(folder, into, step.files) for step in steps]
    lists += [
        _write_list(folder, theirs, each) for step in steps for each in (step.files, step.found) if each
    ]
    calibrations = [_hand_on(path, into / place) for path, place in calibrations_used(folder, summary)]
    places = [path.relative_to(into).as_posix() for path in calibrations]
    scripts = {
        "goafetch.sh": _script(OURS, places, [(step.what, step.goafetch) for step in steps]),
        "dragons.sh": _script(THEIRS, places, [(step.what, step.dragons) for step in steps]),
        "dragonsrc": f"[calibs]\ndatabases = {into.resolve()}/cal_manager.db get store\n",
    }
    for name, text in scripts.items():
        write_atomically(into / name, text, 0o777 if name.endswith(".sh") else 0o666)
    beside = [
        path
        for stack in map(read_stack, list_stacks(folder))
        for path in (*write_catalogue(stack, into, every_form=True), *write_footprint(stack, into))
    ]
    return [*lists, *calibrations, *(into / name for name in scripts), *beside]


def list_stacks(folder: Path) -> list[Path]:
    """The stacks of a workspace whose run has finished."""
    return [folder / p.path for p in read_summary(folder).products if p.path.endswith(f"{STACK}.fits")]


def calibrations_used(folder: Path, summary: RunSummary) -> list[tuple[Path, str]]:
    """Each calibration that the run used, once, with the place below which other tools look for it."""
    used = dict.fromkeys((calibration.name, calibration.role) for calibration in summary.calibrations)
    return [(_find(folder, name), f"calibrations/{FOLDERS[kind]}") for name, kind in used if kind in FOLDERS]


def _find(folder: Path, name: str) -> Path:
    workspace = Workspace(folder)
    places = [workspace.playground, workspace.playdata, *workspace.calibrations.glob("processed_*")]
    for place in places:
        if (place / name).exists():
            return place / name
    raise WorkspaceError(
        f"{name} is not in {folder}",
        "the calibrations that the run used",
        "repeat the run: it remakes or fetches what is missing",
    )


def _write_list(folder: Path, into: Path, listed: FileList) -> Path:
    """A list of names relative to the folder that it stands in, one a line."""
    below = {RAW: Workspace(folder).playdata, BESIDE: into}.get(listed.kind, folder)
    names = [os.path.relpath((below / name).absolute(), into.absolute()) for name in listed.files]
    write_atomically(into / listed.name, "".join(f"{name}\n" for name in names))
    return into / listed.name


def _hand_on(path: Path, folder: Path) -> Path:
    """A copy of a calibration: a tool that changes it must not change the run's own."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{path.name}.new"
    shutil.copyfile(path, temporary)
    return temporary.replace(folder / path.name)


def _script(head: str, calibrations: Sequence[str], commands: Iterable[tuple[str, str]]) -> str:
    lines = [f"\n# {what}\n{command}\n" for what, command in commands]
    return head.format(calibrations=" ".join(map(shlex.quote, calibrations))) + "".join(lines)
