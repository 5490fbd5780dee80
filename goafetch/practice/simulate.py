"""Writing simulated GSAOI programs to disk, and the command that does it; the only writer of raw FITS."""

from __future__ import annotations

import argparse
import bz2
import hashlib
import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from goafetch.events import Notify, Progressed, StageBegun, StageEnded, silent
from goafetch.practice import truth as truths
from goafetch.practice.exposure import troubles
from goafetch.practice.exposure.detector import Array, make_array, relative_sensitivity
from goafetch.practice.exposure.epochs import EPOCHS
from goafetch.practice.exposure.headers import Card, array_cards, primary_cards
from goafetch.practice.exposure.night import (
    Conditions,
    Exposure,
    Night,
    Program,
    draw_conditions,
    draw_course,
)
from goafetch.practice.exposure.region import true_region
from goafetch.practice.exposure.render import MEMORY, Frame, filled_pixels, release, render
from goafetch.practice.goa.holdings import kept_headers
from goafetch.practice.harder import harder
from goafetch.practice.program import tutorial
from goafetch.practice.records import FileFacts, holding

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

PROGRAMS: dict[str, Callable[[Night], Program]] = {"tutorial": tutorial, "harder": harder}


@dataclass(frozen=True)
class Studio:
    """All that the exposures of one program share while they are made."""

    program: Program
    conditions: dict[str, Conditions]
    arrays: tuple[Array, ...]
    sensitivities: dict[str, F64]
    filled: dict[str, list[tuple[NDArray[np.int64], F32]]]
    folder: Path
    truth: Path | None


def build_program(
    name: str,
    folder: Path,
    *,
    seed: int = 1,
    full_size: bool = False,
    truth: Path | None = None,
    workers: int = 2,
    notify: Notify = silent,
    night: Night | None = None,
) -> list[dict[str, Any]]:
    """Make all files of a program (``tutorial`` or ``harder``) in ``folder``, and ``holdings.json``.

    Without ``night`` the program is as it was: central regions of 512 pixels, or whole arrays with
    ``full_size``, stored as .fits.bz2. The same seed gives the same bytes, however many workers there are.
    Returns the holdings: one record a file, as the archive's jsonsummary has them.
    """
    night = night or Night(seed=seed, size=2048 if full_size else 512)
    program = PROGRAMS[name](night)
    folder.mkdir(parents=True, exist_ok=True)
    if truth is not None:
        truth.mkdir(parents=True, exist_ok=True)
    notify(StageBegun("simulate", len(program.exposures)))
    with ThreadPoolExecutor(max_workers=workers) as pool:
        studio = _prepare(program, folder, truth, pool)
        records = []
        for done, record in enumerate(pool.map(lambda e: _make_file(studio, e), program.exposures), 1):
            records.append(record)
            notify(Progressed("simulate", done, len(program.exposures)))
    truths.write_json(folder / "holdings.json", records)
    if truth is not None:
        _write_truth(studio, truth)
    notify(StageEnded("simulate"))
    return records


def weather(program: Program) -> dict[str, Conditions]:
    """The conditions of each exposure, by name. An observation of skies alone has its science's sky, whose
    course goes on."""
    found = {}
    science = [e for e in program.exposures if e.kind == "science"]
    for exposure in program.exposures:
        kinds = {e.kind for e in program.exposures if e.observation == exposure.observation}
        lead = exposure
        if kinds == {"sky"} and science:
            lead = min(science, key=lambda e: abs(e.begin - exposure.begin))
        start = min(e.begin for e in program.exposures if e.observation == lead.observation)
        course = draw_course(program.night, lead.observation, start)
        found[exposure.name] = troubles.weather(exposure, draw_conditions(exposure, program.night, course))
    return found


def _prepare(program: Program, folder: Path, truth: Path | None, pool: ThreadPoolExecutor) -> Studio:
    """Draw the detector and every exposure's weather, and find what each exposure leaves behind."""
    night = program.night
    conditions = weather(program)
    arrays = tuple(pool.map(lambda i: make_array(i, np.random.default_rng([night.seed, 9, i])), range(4)))
    sensitivities = {e.filter_name: relative_sensitivity(e.filter_name) for e in program.exposures}

    def fill(exposure: Exposure) -> list[tuple[NDArray[np.int64], F32]]:
        """What an exposure leaves in each array."""
        weather, sensitivity = conditions[exposure.name], sensitivities[exposure.filter_name]
        return [filled_pixels(exposure, weather, program, a, float(sensitivity[a.index])) for a in arrays]

    on_sky = [e for e in program.exposures if e.field]
    filled = dict(zip((e.name for e in on_sky), pool.map(fill, on_sky), strict=True))
    return Studio(program, conditions, arrays, sensitivities, filled, folder, truth)


def _afterglow(studio: Studio, exposure: Exposure, index: int) -> F32 | None:
    """Persistence of one array from earlier exposures, electrons/s over the region that is read, or None."""
    glow = np.zeros(2048 * 2048, np.float32)
    found = False
    length = exposure.exptime * exposure.coadds
    for earlier in studio.program.exposures:
        if earlier.name not in studio.filled:
            continue
        end = earlier.exptime * earlier.coadds
        wait = (exposure.begin - earlier.begin).total_seconds() - end
        pixels, trapped = studio.filled[earlier.name][index]
        if 0.0 <= wait < MEMORY and pixels.size:
            glow[pixels] += release(trapped, wait, length)
            found = True
    return (
        glow.reshape(2048, 2048)[true_region(exposure.size, index, exposure.epoch.row_error).slices]
        if found
        else None
    )


def _make_file(studio: Studio, exposure: Exposure) -> dict[str, Any]:
    """Expose, write the file and its truth; the file's record."""
    conditions = studio.conditions[exposure.name]
    if exposure.kind == "mask":
        return _store(studio, exposure, [a.listed.astype(np.int16) for a in studio.arrays])
    afterglow = [_afterglow(studio, exposure, i) for i in range(4)]
    sensitivity = studio.sensitivities[exposure.filter_name]
    frames: list[Frame] = render(exposure, conditions, studio.program, studio.arrays, sensitivity, afterglow)
    if studio.truth is not None:
        truths.write_frame_truth(studio.truth, exposure, frames, studio.program.night.noiseless)
    return _store(studio, exposure, [f.counts for f in frames])


def _store(studio: Studio, exposure: Exposure, images: Sequence[NDArray[Any]]) -> dict[str, Any]:
    """Write one file, compressed as the night says; its record for the archive's answers."""
    content = to_fits(exposure, studio.conditions[exposure.name], studio.arrays, images)
    stored = bz2.compress(content) if studio.program.night.compress else content
    filename = f"{exposure.name}.fits" + (".bz2" if studio.program.night.compress else "")
    (studio.folder / filename).write_bytes(stored)
    _keep_headers(studio.folder / filename, content)
    facts = FileFacts(
        filename, len(stored), _md5(stored), len(content), _md5(content), studio.program.night.compress
    )
    return holding(exposure, facts, studio.program.fields.get(exposure.field or ""))


def to_fits(
    exposure: Exposure, conditions: Conditions, arrays: Sequence[Array], images: Sequence[NDArray[Any]]
) -> bytes:
    """A raw file's bytes: a primary header without data, then one image extension for each array."""
    primary = fits.PrimaryHDU()
    _add_cards(primary.header, primary_cards(exposure, conditions))
    if exposure.kind == "mask":
        _add_cards(primary.header, [("BPMASK", True, "This is a bad-pixel mask")])
    hdus = [primary]
    for array, image in zip(arrays, images, strict=True):
        if "missing extension" in exposure.trouble and array.index == 2:
            continue
        hdu = fits.ImageHDU(image)
        if exposure.kind == "mask":
            hdu.header["EXTNAME"], hdu.header["EXTVER"] = "SCI", array.index + 1
        _add_cards(hdu.header, array_cards(exposure, array))
        hdus.append(hdu)
    buffer = io.BytesIO()
    fits.HDUList(hdus).writeto(buffer)
    return buffer.getvalue()


def _add_cards(header: fits.Header, cards: Sequence[Card]) -> None:
    for keyword, value, comment in cards:
        if keyword == "COMMENT":
            header.add_comment(value)
        else:
            room = 80 - len(str(fits.Card(keyword, value)).rstrip()) - len(" / ")
            header.append((keyword, value, comment[: max(room, 0)]), end=True)


def _keep_headers(stored: Path, content: bytes) -> None:
    """Keep the headers beside the file: the archive answers for them without unpacking it."""
    kept = kept_headers(stored)
    kept.parent.mkdir(exist_ok=True)
    with fits.open(io.BytesIO(content)) as units:
        kept.write_bytes(b"".join(unit.header.tostring().encode("ascii") for unit in units))


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _write_truth(studio: Studio, folder: Path) -> None:
    """The parts of the truth that all exposures share."""
    truths.write_catalogues(folder, studio.program)
    truths.write_standards(folder, studio.program)
    truths.write_detector(folder, studio.arrays)
    entries = [
        truths.describe_exposure(e, studio.conditions[e.name]) for e in studio.program.exposures if e.exptime
    ]
    truths.write_json(folder / "exposures.json", entries)
    truths.write_json(
        folder / "program.json", truths.describe_program(studio.program, studio.arrays, studio.sensitivities)
    )


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m goafetch.practice.simulate", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the files")
    parser.add_argument("--truth", type=Path, help="folder for the truth")
    parser.add_argument("--program", choices=sorted(PROGRAMS), default="tutorial")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--full-size", action="store_true", help="read whole arrays")
    parser.add_argument("--size", type=int, help="columns and rows read of each array")
    parser.add_argument("--sky-order", choices=("after", "interleaved"), default="after")
    parser.add_argument("--dither", type=float, default=0.2, help="arcsec between dither steps")
    parser.add_argument("--scenery", choices=("galaxy", "sparse", "crowded"), default="galaxy")
    parser.add_argument("--stars", type=int, help="number of stars in the catalogue")
    parser.add_argument("--channels", type=int, choices=(4, 32), default=4)
    parser.add_argument("--position-angle", type=float, default=0.0)
    parser.add_argument("--port", type=int, default=1)
    parser.add_argument("--epoch", choices=["", *EPOCHS], default="", help="year whose headers it has")
    parser.add_argument("--only", nargs="*", default=[], help="kinds of exposure to make")
    parser.add_argument("--uncompressed", action="store_true", help="write .fits rather than .fits.bz2")
    parser.add_argument("--noiseless", action="store_true", help="let the truth hold noiseless electrons")
    parser.add_argument("--workers", type=int, default=2)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Make a program as the command line says."""
    given = _parse(arguments)
    night = Night(
        seed=given.seed,
        sky_order=given.sky_order,
        dither=given.dither,
        size=given.size or (2048 if given.full_size else 512),
        scenery=given.scenery,
        stars=given.stars,
        channels=given.channels,
        position_angle=given.position_angle,
        port=given.port,
        compress=not given.uncompressed,
        noiseless=given.noiseless,
        epoch=given.epoch,
        only=frozenset(given.only),
    )
    build_program(given.program, given.out, truth=given.truth, workers=given.workers, night=night)


if __name__ == "__main__":
    main()
