"""Hand a workspace on to other tools: file lists, calibrations in DRAGONS' form, commands, catalogues."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from calstore.associate import PROCESSED_BPM, PROCESSED_FLAT
from goafetch.errors import WorkspaceError
from goafetch.report.exchange import write_catalogues
from goafetch.report.model import RunSummary, read_summary
from goafetch.report.products import read_stack
from goafetch.report.repeat import BESIDE, RAW, FileList, list_steps
from goafetch.workspace import Workspace, write_atomically

#: Where the kinds of calibration of a run's story lie below calibrations/.
FOLDERS = {"flat": PROCESSED_FLAT, "mask": PROCESSED_BPM}

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
    calibrations/processed_flat and processed_bpm, dragonsrc, the scripts goafetch.sh and dragons.sh, and each
    stack's catalogue as ds9 regions, ECSV and FITS. Files of another content there are replaced, others left
    alone. Raises WorkspaceError where no run has finished, or where a file of its story is no longer there.
    """
    summary = read_summary(folder)
    theirs = into / "dragons"
    theirs.mkdir(parents=True, exist_ok=True)
    steps = list_steps(summary, folder, into)
    lists = [_write_list(folder, into, step.files) for step in steps]
    lists += [
        _write_list(folder, theirs, each) for step in steps for each in (step.files, step.found) if each
    ]
    calibrations = [_hand_on(path, into / place) for path, place in find_calibrations(folder, summary)]
    places = [path.relative_to(into).as_posix() for path in calibrations]
    scripts = {
        "goafetch.sh": _script(OURS, places, [(step.what, step.goafetch) for step in steps]),
        "dragons.sh": _script(THEIRS, places, [(step.what, step.dragons) for step in steps]),
        "dragonsrc": f"[calibs]\ndatabases = {into.resolve()}/cal_manager.db get store\n",
    }
    for name, text in scripts.items():
        write_atomically(into / name, text, 0o777 if name.endswith(".sh") else 0o666)
    stacks = [folder / p.path for p in summary.products if p.path.endswith("_image.fits")]
    catalogues = [path for stack in stacks for path in write_catalogues(read_stack(stack), into)]
    return [*lists, *calibrations, *(into / name for name in scripts), *catalogues]


def find_calibrations(folder: Path, summary: RunSummary) -> list[tuple[Path, str]]:
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
