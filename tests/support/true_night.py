"""Small simulated programs with known truth, reduced to aligned exposures and compared with it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from goafetch.practice.exposure import optics
from goafetch.practice.exposure.night import Night
from goafetch.practice.simulate import build_program
from reducer import recipes
from reducer.astrometry import plane_to_sky, sky_to_plane
from reducer.fitsio import open_frame
from reducer.frame import Context, FrameRef
from reducer.run import run_recipe

FLATS = frozenset({"lamp-on", "lamp-off"})
Facts = list[tuple[str, dict[str, Any]]]


@dataclass(frozen=True)
class TrueNight:
    """A program on disk, its flat, and what is true of its exposures (docs/truth.md)."""

    folder: Path
    exposures: dict[str, dict[str, Any]]
    flat: Path

    def raw(self, *kinds: str) -> list[Path]:
        """The raw files of some kinds of exposure, in order of time."""
        return [self.folder / f"{n}.fits" for n, e in self.exposures.items() if e["kind"] in kinds]

    def reduce(self, *kinds: str, steps: Any = recipes.reduce[:-1]) -> tuple[list[FrameRef], Facts]:
        """Exposures of some kinds taken through the recipe up to the stack, and all that was told."""
        told: Facts = []
        context = Context(
            self.folder, flat=self.flat, notify=lambda event, **facts: told.append((event, facts))
        )
        return run_recipe(steps, [open_frame(path) for path in self.raw(*kinds)], context), told

    def stack(self, frames: list[FrameRef], **parameters: Any) -> FrameRef:
        """The stack of aligned frames."""
        return run_recipe((recipes.stackFrames,), frames, Context(self.folder, parameters=parameters))[0]

    def stars(self, name: str) -> np.ndarray:
        """Stars in an exposure: id, array 1..4, x and y (0-based pixels as read), electrons."""
        table = np.load(self.folder / "truth" / "positions" / f"{name}.npy")
        corner = np.array([region[:2] for region in self.exposures[name]["regions"]])[table["array"] - 1]
        table["x"] -= corner[:, 0]
        table["y"] -= corner[:, 1]
        return table

    def catalogue(self, name: str) -> dict[str, np.ndarray]:
        """The stars of the field that an exposure looks at."""
        with np.load(self.folder / "truth" / f"catalogue_{self.exposures[name]['field']}.npz") as content:
            return {key: content[key] for key in content.files}

    def true_plane(self, frame: FrameRef, x: Any, y: Any, chip: int) -> tuple[np.ndarray, np.ndarray]:
        """Where 0-based pixels of an exposure truly look, arcsec on the common plane of its geometry."""
        entry = self.exposures[name_of(frame)]
        region = frame.geometry.regions[chip]
        at = entry["regions"][region.array - 1]
        static = optics.pixel_to_static(region.array - 1, np.asarray(x) + at[0], np.asarray(y) + at[1])
        true = optics.Mapping(
            tuple(entry["pointing"]), np.array(entry["matrix"]), np.array(entry["quadratic"])
        )
        sky = plane_to_sky(*true.to_sky(*static), tuple(self.catalogue(entry["name"])["tangent"]))
        return sky_to_plane(*sky, frame.geometry.tangent)


def make_night(folder: Path, *kinds: str, program: str = "tutorial", **night: Any) -> TrueNight:
    """Simulate a program's exposures of some kinds with four flats of a kind, and reduce the flats."""
    plan = Night(**{"flats": 4, "compress": False, **night, "only": FLATS | set(kinds)})
    build_program(program, folder, truth=folder / "truth", night=plan, workers=1)
    entries = json.loads((folder / "truth" / "exposures.json").read_text())
    exposures = {entry["name"]: entry for entry in entries}
    lamps = [open_frame(folder / f"{n}.fits") for n, e in exposures.items() if e["kind"] in FLATS]
    flat = run_recipe(recipes.makeProcessedFlat, lamps, Context(folder))[0].path
    return TrueNight(folder, exposures, flat)


def name_of(frame: FrameRef) -> str:
    """The name of the exposure that a product was made of."""
    return frame.path.name.split("_")[0].removesuffix(".fits")


def misplacements(
    night: TrueNight, frames: list[FrameRef], step: float = 1.5
) -> tuple[np.ndarray, np.ndarray]:
    """Points of the sky that all exposures see, (points, 2) arcsec on the common plane, and how far each
    exposure's geometry puts them from where they are, (frames, points, 2) arcsec."""
    outlines = [frame.geometry.corners(chip) for frame in frames for chip in range(len(frame.chips))]
    low, high = np.min(outlines, axis=(0, 2)), np.max(outlines, axis=(0, 2))
    axes = [np.arange(a, b, step) for a, b in zip(low, high, strict=True)]
    places = np.stack([axis.ravel() for axis in np.meshgrid(*axes)])
    gaps = np.full((len(frames), places.shape[1], 2), np.nan)
    for frame, gap in zip(frames, gaps, strict=True):
        for chip, region in enumerate(frame.geometry.regions):
            x, y = frame.geometry.inverse(chip).evaluate(*places)
            on = (x > -0.5) & (y > -0.5) & (x < region.width - 0.5) & (y < region.height - 0.5)
            gap[on] = np.transpose(places[:, on] - night.true_plane(frame, x[on], y[on], chip))
    seen = np.isfinite(gaps).all(axis=(0, 2))
    return places[:, seen].T, gaps[:, seen]


def own_distortions(night: TrueNight, frames: list[FrameRef], step: float = 1.5) -> np.ndarray:
    """The misplacements if of each exposure only shift and rotation were known besides the static model."""
    bare = [frame.with_(geometry=replace(frame.geometry, coefficients=None, shifts=None)) for frame in frames]
    places, gaps = misplacements(night, bare, step)
    return np.stack([without_rigid(places, gap) for gap in gaps])


def without_rigid(places: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """What shift and rotation leave of gaps (points, 2) at places (points, 2)."""
    one, zero = np.ones(len(places)), np.zeros(len(places))
    design = np.concatenate([np.c_[one, zero, -places[:, 1]], np.c_[zero, one, places[:, 0]]])
    values = gaps.T.ravel()
    return (values - design @ np.linalg.lstsq(design, values, rcond=None)[0]).reshape(2, -1).T


def rms(gaps: np.ndarray) -> np.ndarray:
    """Rms per axis over points: (frames, points, 2) to (frames,)."""
    return np.sqrt(np.mean(gaps**2, axis=(1, 2)))
