"""Every step can be left out or says why it cannot, and what it passes on can be had as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from raw_exposure import expose, primary_header, write_raw

from reducer.errors import BadInput, BadParameter
from reducer.fitsio import open_frame, read_chip, read_table
from reducer.frame import Chip, Context, FrameRef
from reducer.recipes import RECIPES, STEPS, alignAndStack, parse, reduce_nostack
from reducer.run import run_recipe
from reducer.step import Step, step, steps_of
from reducer.steps.prepare import prepare

SIDE, FIRST = 128, 960
ARRAYS = (1, 2, 3, 4)
Y, X = np.mgrid[0:SIDE, 0:SIDE].astype(float)
IN_DOME = {"OBSCLASS": "dayCal", "FRAME": "AZEL_TOPO", "TRKFRAME": "AZEL_TOPO", "EXPTIME": 15.0}
#: Arcsec east and north of the target of two coadds each; the last two are of empty sky.
PLAN = ((0.0, 0.0), (0.3, 0.0), (0.0, 0.3), (-300.0, 0.0), (-303.0, 0.0))


def stars(array: int, east: float, north: float) -> np.ndarray:
    """Electrons of 12 stars."""
    light = np.zeros((SIDE, SIDE))
    rng = np.random.default_rng(array)
    for x, y, flux in zip(*rng.uniform(12, SIDE - 12, (2, 12)), rng.uniform(3e4, 3e5, 12), strict=True):
        r2 = (X - x + east / 0.0197) ** 2 + (Y - y + north / 0.0197) ** 2
        light += flux / (2 * np.pi * 3) * np.exp(-r2 / 6)
    return light


def take(folder: Path, number: int, light: dict[int, np.ndarray], **cards: Any) -> Path:
    rng = np.random.default_rng(number)
    images = {array: expose(each, array, rng, int(cards.get("COADDS", 1))) for array, each in light.items()}
    return write_raw(
        folder / f"S20170505S{number:04d}.fits", primary_header(2.0 * number, **cards), images, FIRST
    )


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Raw lamp exposures, and exposures of a star field and of empty sky."""
    folder, even = tmp_path_factory.mktemp("raw"), np.ones((SIDE, SIDE))
    lamps = [
        take(folder, n, {a: level * even for a in ARRAYS}, OBJECT=name, **IN_DOME)
        for n, name, level in [(n, "Domeflat", 22000) for n in (1, 2, 3)]
        + [(n, "Domeflat OFF", 2000) for n in (4, 5, 6)]
    ]
    field = [
        take(
            folder,
            n,
            {a: 1500 + (stars(a, east, north) if east > -100 else 0 * even) for a in ARRAYS},
            RAOFFSET=east,
            DECOFFSE=north,
            COADDS=2,
        )
        for n, (east, north) in enumerate(PLAN, 11)
    ]
    # A pixel that the detector could not read.
    with fits.open(field[1], mode="update") as file:
        file[2].data[40, 50] = np.nan
    return {"lamps": lamps, "field": field}


@pytest.fixture(scope="module")
def flat(raw: dict[str, list[Path]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    context = Context(tmp_path_factory.mktemp("flat"))
    return run_recipe(RECIPES["makeProcessedFlat"], opened(raw["lamps"]), context)[0].path


def opened(paths: Sequence[Path]) -> list[FrameRef]:
    return [open_frame(path) for path in paths]


def output_of(frame: FrameRef, suffix: str) -> str:
    return f"{frame.path.name.split('_')[0].removesuffix('.fits')}{suffix}.fits"


def watched(recipe: Sequence[Step], seen: dict[str, list[Chip]]) -> list[Any]:
    """A recipe that notes behind each step what the next one gets, under the name of the file that has it."""

    def noted(each: Step) -> Any:
        def note(frames: Sequence[FrameRef], context: Context) -> Sequence[FrameRef]:
            for frame in frames:
                name = frame.path.name if each.writes or each.parts else output_of(frame, each.suffix)
                seen[name] = [context.disk.read_chip(frame, index) for index in range(len(frame.chips))]
            return frames

        return note

    return [one for each in recipe for one in (each, noted(each))]


def is_in(path: Path, chips: Sequence[Chip]) -> bool:
    """Whether a file holds these pixels; where there is no data it has the level around, or no numbers."""
    with fits.open(path) as file:
        pairs = [
            (np.where(no_data, 0, file[name, chip.header["EXTVER"]].data), np.where(no_data, 0, plane))
            for chip in chips
            for no_data in (chip.mask & 16 > 0,)
            for name, plane in (("SCI", chip.data), ("VAR", chip.variance), ("DQ", chip.mask))
            if (name, chip.header["EXTVER"]) in file
        ]
        return bool(pairs) and all(np.array_equal(*map(np.nan_to_num, pair)) for pair in pairs)


def subtracted(raw: dict[str, list[Path]], flat: Path, folder: Path) -> list[FrameRef]:
    """The on-target exposures without their sky."""
    context = Context(folder, {"associateSky": {"distance": 0.2}}, flat=flat)
    return [
        frame for frame in run_recipe(reduce_nostack, opened(raw["field"]), context) if frame.role != "sky"
    ]


@pytest.mark.parametrize("name", RECIPES)
def test_every_step_of_every_recipe_writes_what_it_passes_on(
    name: str, raw: dict[str, list[Path]], flat: Path, tmp_path: Path
) -> None:
    """Six steps refused `write_outputs`."""
    of_lamps, recipe = name.startswith("makeProcessed"), RECIPES[name]
    frames = opened(raw["lamps" if of_lamps else "field"])
    if recipe is alignAndStack:
        frames = subtracted(raw, flat, tmp_path / "before")
    parameters: dict[str, dict[str, Any]] = {each: {"write_outputs": True} for each in steps_of(recipe)}
    seen: dict[str, list[Chip]] = {}
    told: list[Path] = []

    def listen(event: str, /, **facts: Any) -> None:
        told.extend([facts["path"]] if event == "made" else [])

    context = Context(tmp_path, parameters, flat=None if of_lamps else flat, notify=listen)
    run_recipe(watched(recipe, seen), frames, context)
    written = {path.name for path in tmp_path.glob("*.fits")}
    assert written == {path.name for path in told}
    for each in steps_of(recipe).values():
        assert any(file.endswith(f"{each.suffix}.fits") for file in written), each.name
    for file, chips in seen.items():
        if file in written:
            assert is_in(tmp_path / file, chips), file
    missing = {file for file in seen if file not in written}
    assert all(recipe is alignAndStack and file.endswith("_skyCorrected.fits") for file in missing), missing


def test_what_is_known_of_an_exposure_stands_beside_its_pixels(
    raw: dict[str, list[Path]], flat: Path, tmp_path: Path
) -> None:
    steps = ("associateSky", "detectSources", "scaleCountsToReference")
    parameters = {each: {"write_outputs": True} for each in steps}
    (stack,) = run_recipe(RECIPES["reduce"], opened(raw["field"]), Context(tmp_path, parameters, flat=flat))
    first, sky = (open_frame(tmp_path / f"S20170505S00{n}_skyAssociated.fits") for n in (11, 14))
    assert first.header["OBJFRAME"] == sky.header["SKYFRAME"] == "True"
    assert "SKYFRAME" not in first.header
    assert all(key in first.header for key in ("SEPSKY", "ASSOCSKY"))
    skies = read_table(first.path, "SKYTABLE")
    assert skies is not None and sorted(name[:14] for name in skies["SKYNAME"]) == [
        "S20170505S0014", "S20170505S0015",
    ]  # fmt: skip
    with fits.open(tmp_path / "S20170505S0012_sourcesDetected.fits") as file:
        for array in ARRAYS:
            found, light = file["OBJCAT", array].data, stars(array, *PLAN[1])
            brightest = np.unravel_index(light.argmax(), light.shape)
            away = np.hypot(found["X_IMAGE"] - 1 - brightest[1], found["Y_IMAGE"] - 1 - brightest[0])
            assert away.min() < 1.5
    scaled = open_frame(tmp_path / "S20170505S0012_countsScaled.fits")
    assert scaled.header["FLXSCALE"] == pytest.approx(1.0, abs=0.05)
    assert all(key in scaled.header for key in ("DETECSRC", "CORRWCS", "ASTRMTRY", "SCALEOBJ"))
    assert scaled.chips[0]["CTYPE1"] == "RA---TAN-SIP"
    history = read_table(scaled.path, "HISTORY")
    assert history is not None
    assert (
        list(history["primitive"][:1]) == ["prepare"] and history["primitive"][-1] == "scaleCountsToReference"
    )
    assert "OBJFRAME" not in stack.header and "FLXSCALE" not in stack.header


def test_the_objects_of_a_stack_are_written_by_array(
    raw: dict[str, list[Path]], flat: Path, tmp_path: Path
) -> None:
    context = Context(tmp_path, {"maskFromStack": {"write_outputs": True}}, flat=flat)
    run_recipe(RECIPES["ultradeep"], opened(raw["field"]), context)
    with fits.open(tmp_path / "S20170505S0011_objectsMasked.fits") as file:
        for array in ARRAYS:
            light, mask = stars(array, *PLAN[0]), file["OBJMASK", array].data
            assert mask[np.unravel_index(light.argmax(), light.shape)] == 1
            assert mask[light < 1].mean() < 0.3


@pytest.mark.prove
@pytest.mark.parametrize("name", ["reduce", "ultradeep"])
def test_written_outputs_change_no_product(
    name: str, raw: dict[str, list[Path]], flat: Path, tmp_path: Path
) -> None:
    """The second sky subtraction of ultradeep began with skies that the first had written over those of
    flatCorrect, their channels' offsets gone."""
    recipe, made = RECIPES[name], []
    for folder, asked in (("plain", False), ("all", True)):
        parameters = {each: {"write_outputs": asked} for each in steps_of(recipe)}
        run_recipe(recipe, opened(raw["field"]), Context(tmp_path / folder, parameters, flat=flat))
        made.append({path.name: path for path in (tmp_path / folder).glob("*.fits")})
    plain, every = made
    assert {"S20170505S0011_image.fits", "S20170505S0014_flatCorrected.fits"} <= set(plain)
    for file, path in plain.items():
        with fits.open(path) as one, fits.open(every[file]) as other:
            for hdu in one:
                if hdu.name in ("SCI", "VAR", "DQ"):
                    same = other[hdu.name, hdu.ver].data
                    assert np.array_equal(hdu.data, same, equal_nan=hdu.name != "DQ"), (file, hdu.name)


def test_prepared_exposures_go_on_where_they_were_left(
    raw: dict[str, list[Path]], flat: Path, tmp_path: Path
) -> None:
    """Coadds, pixels that are no numbers, and what it was made from are not lost on the way."""
    parameters = {"prepare": {"write_outputs": True}}
    at_once = run_recipe(reduce_nostack, opened(raw["field"]), Context(tmp_path / "a", parameters, flat=flat))
    prepared = sorted((tmp_path / "a").glob("*_prepared.fits"))
    assert len(prepared) == len(PLAN)
    later = run_recipe(reduce_nostack, opened(prepared), Context(tmp_path / "b", flat=flat))
    for one, other in zip(at_once, later, strict=True):
        assert one.path.name == other.path.name
        for index in range(len(one.chips)):
            first, second = read_chip(one, index), read_chip(other, index)
            assert all(
                np.array_equal(getattr(first, k), getattr(second, k)) for k in ("data", "variance", "mask")
            )
            assert first.header["RDNOISE"] == second.header["RDNOISE"]
        story = read_table(other.path, "PROVENANCE")
        assert story is not None and "raw input" in list(story["provenance_added_by"])
    with pytest.raises(BadInput, match="already reduced"):
        run_recipe((prepare,), later, Context(tmp_path / "c"))


@pytest.mark.parametrize("suffix", ["_sourcesDetected", "_zeropointMeasured"])
def test_written_exposures_can_be_stacked(
    suffix: str, raw: dict[str, list[Path]], flat: Path, tmp_path: Path
) -> None:
    (name,) = (each.name for each in STEPS.values() if each.suffix == suffix)
    frames = subtracted(raw, flat, tmp_path)
    (stack,) = run_recipe(alignAndStack, frames, Context(tmp_path, {name: {"write_outputs": True}}))
    written = sorted(tmp_path.glob(f"*{suffix}.fits"))
    (again,) = run_recipe(alignAndStack, opened(written), Context(tmp_path / "again"))
    assert again.header["NCOMBINE"] == stack.header["NCOMBINE"] == 3
    one, other = read_chip(stack, 0), read_chip(again, 0)
    lit = [float(each.data[each.data > 50].sum()) for each in (one, other)]
    assert lit[1] == pytest.approx(lit[0], rel=0.01)


@pytest.mark.parametrize("name", STEPS)
def test_every_step_is_left_out_or_says_why_it_cannot_be(name: str) -> None:
    if STEPS[name].cannot_skip:
        with pytest.raises(BadParameter) as refused:
            parse([(f"{name}:skip_primitive", True)])
        assert f"{name} cannot be left out: {STEPS[name].cannot_skip}" in str(refused.value)
        assert len(STEPS[name].cannot_skip.split()) > 5
    else:
        assert parse([(f"{name}:skip_primitive", True)]) == {name: {"skip_primitive": True}}


@pytest.mark.parametrize("name", ["addDQ", "associateSky", "leaveOutSkies", "scaleCountsToReference"])
def test_a_recipe_goes_on_without_a_step(
    name: str, raw: dict[str, list[Path]], flat: Path, tmp_path: Path
) -> None:
    """Without sky exposures there is nothing to subtract: those two go together."""
    left_out = [name, "skyCorrect"] if name in ("separateSky", "associateSky") else [name]
    parameters = {each: {"skip_primitive": True} for each in left_out}
    made = run_recipe(RECIPES["reduce"], opened(raw["field"]), Context(tmp_path, parameters, flat=flat))
    suffix = "_align.fits" if name == "stackFrames" else "_image.fits"
    assert all(frame.path.name.endswith(suffix) and frame.path.is_file() for frame in made)
    history = read_table(made[0].path, "HISTORY")
    assert history is not None
    done = {row["primitive"] for row in history if '"skip_primitive": true' not in row["args"]}
    assert not set(left_out) & done


def test_without_addVAR_no_variance_is_stated_and_nothing_is_stacked(
    raw: dict[str, list[Path]], flat: Path, tmp_path: Path
) -> None:
    """The flat's noise in the sky was taken off a variance that there was not: it became negative."""
    context = Context(tmp_path, {"addVAR": {"skip_primitive": True}}, flat=flat)
    made = run_recipe(reduce_nostack, opened(raw["field"]), context)
    variances = [read_chip(frame, index).variance for frame in made for index in range(len(frame.chips))]
    assert len(variances) == 4 * len(PLAN) and not any(np.nan_to_num(each).any() for each in variances)
    with pytest.raises(BadInput, match=r"S20170505S0011_skyCorrected.fits, .*: no variance; .*addVAR"):
        run_recipe(alignAndStack, [frame for frame in made if frame.role != "sky"], Context(tmp_path / "all"))


def test_a_step_of_the_users_own_is_written_too_and_is_what_a_recipe_ends_with(
    raw: dict[str, list[Path]], tmp_path: Path
) -> None:
    @step()
    def keepFirst(frames: Sequence[FrameRef], context: Context) -> Sequence[FrameRef]:
        """Keep one frame."""
        return frames[:1]

    context = Context(tmp_path, {"keepFirst": {"write_outputs": True}})
    (made,) = run_recipe((prepare, keepFirst), opened(raw["field"]), context)
    assert made.path == tmp_path / "S20170505S0011_keepFirst.fits" and made.path.is_file()
