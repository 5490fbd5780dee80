"""The tutorial's ``disco``: align exposures, correct their distortion, stack them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from goafetch.api import logutils
from goafetch.api.files import expand
from goafetch.api.reduce import Task, reduce_files
from goafetch.events import Notify

#: Which parameter each field of a MatchInfo sets, for object and for reference matching.
OBJECT_MATCH = {
    "offset_radius": "adjustWCSToReference:first_pass",
    "match_radius": "adjustWCSToReference:final",
    "min_matches": "adjustWCSToReference:min_matches",
    "degree": "adjustWCSToReference:order",
}
REFERENCE_MATCH = {
    "offset_radius": "determineAstrometricSolution:first_pass",
    "match_radius": "determineAstrometricSolution:final",
    "min_matches": "determineAstrometricSolution:min_matches",
    "degree": "determineAstrometricSolution:order",
}


def disco(
    infiles: Iterable[str | Path],
    output_identifier: str = "disco_stack",
    objmatch_info: Any = None,
    refmatch_info: Any = None,
    pixel_scale: float | None = None,
    skysub: bool = False,
    catalog: str | None = None,
) -> Path:
    """Stack sky-subtracted exposures; the path of ``<output_identifier>.fits``.

    ``objmatch_info`` and ``refmatch_info`` have the fields offset_radius and match_radius (arcsec),
    min_matches and degree, each None for the usual value: how exposures are matched with each other, and
    with the ``catalog``. ``pixel_scale``: arcsec per pixel of the stack. ``skysub`` is told to change
    nothing: what is left of the sky between exposures is always solved for.
    """
    output = named(output_identifier)
    with (
        logutils.telling() as tell,
        tempfile.TemporaryDirectory(dir=output.parent, prefix=".disco-") as scratch,
    ):
        if skysub:
            tell("decision", what="skysub=True changes nothing", reason="residual sky is always solved for")
        files = expand(infiles)
        positions = positions_for(files[0], catalog, Path(scratch), tell) if catalog else None
        task = Task(
            files=files,
            recipe="alignAndStack",
            parameters=stack_parameters(objmatch_info, refmatch_info, pixel_scale, positions),
            folder=Path(scratch),
        )
        (made,) = reduce_files(task, tell)
        return made.rename(output)


def positions_for(first: Path, catalog: str, folder: Path, tell: Notify) -> str | None:
    """The file of reference stars that ``catalog`` means (see ``goafetch.catalog``), None for none."""
    from goafetch.catalog import find_positions
    from reducer.fitsio import read_headers

    header, _ = read_headers(first)
    found = find_positions(catalog, float(header["RA"]), float(header["DEC"]), folder, tell)
    return str(found) if found else None


def stack_parameters(
    objects: Any, reference: Any, pixel_scale: float | None, catalog: str | None
) -> list[tuple[str, Any]]:
    """The parameters of the recipe, those that are not None."""
    wanted = [(name, getattr(objects, field, None)) for field, name in OBJECT_MATCH.items()]
    wanted += [(name, getattr(reference, field, None)) for field, name in REFERENCE_MATCH.items()]
    wanted.append(("resampleToCommonFrame:pixel_scale", pixel_scale))
    wanted.append(("determineAstrometricSolution:catalog", catalog))
    return [(name, value) for name, value in wanted if value is not None]


def named(identifier: str) -> Path:
    """The file that an identifier means: with .fits at its end."""
    return Path(identifier if identifier.endswith(".fits") else f"{identifier}.fits")
