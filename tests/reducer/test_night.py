"""A small night through the recipes: flats, interleaved skies, a galaxy, dithers, refusals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from night_exposures import ARRAYS, DEAD, NORM, RESPONSE, X, Y, frames, spoil, take
from raw_exposure import MIDDLES, SIDE
from told import in_words

from reducer import dq, recipes
from reducer.align.wcs import descriptors_of
from reducer.errors import BadInput, BadParameter, MissingCalibration
from reducer.fitsio import open_frame, read_chip, read_table
from reducer.frame import Context, FrameRef
from reducer.run import run_recipe


def galaxy(array: int, east: float, north: float) -> np.ndarray:
    """Electrons of a galaxy's halo in the upper left of array 4 with the telescope at an offset (arcsec)."""
    x = X * 0.0197 + MIDDLES[array - 1][0] + east
    y = Y * 0.0197 + MIDDLES[array - 1][1] + north
    return 3000 * np.exp(-np.hypot(x - 26, y - 26) / 12.0)


def stars(seed: int, number: int, east: float, north: float) -> np.ndarray:
    """Electrons of some stars, the same for all arrays, moving with the offset."""
    rng = np.random.default_rng(seed)
    light = np.zeros((SIDE, SIDE))
    for x, y, flux in zip(
        rng.uniform(0, SIDE, number), rng.uniform(0, SIDE, number), rng.uniform(2e4, 2e5, number), strict=True
    ):
        r2 = (X - x + east / 0.0197) ** 2 + (Y - y + north / 0.0197) ** 2
        light += flux / (2 * np.pi * 4) * np.exp(-r2 / 8)
    return light


def sky_level(minute: float) -> float:
    return 3000 * (1 + 0.08 * minute / 30) * (1 + 0.001 * np.sin(10 * minute))


@pytest.fixture(scope="module")
def flats(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("flats")
    plane = {array: np.ones((SIDE, SIDE)) for array in ARRAYS}
    cards = {"OBSCLASS": "dayCal", "FRAME": "AZEL_TOPO", "TRKFRAME": "AZEL_TOPO", "EXPTIME": 15.0}
    lit = [
        take(
            folder,
            n,
            {a: 22000 * (1 + 0.01 * n) * plane[a] for a in ARRAYS},
            OBJECT="Domeflat",
            minutes=n,
            **cards,
        )
        for n in range(6)
    ]
    return lit + [
        take(folder, n, {a: 2000 * plane[a] for a in ARRAYS}, OBJECT="Domeflat OFF", minutes=n, **cards)
        for n in range(10, 16)
    ]


@pytest.fixture(scope="module")
def flat(flats: list[Path]) -> Path:
    made = run_recipe(recipes.makeProcessedFlat, frames(flats), Context(flats[0].parent))
    return made[0].path


def night(folder: Path, plan: Sequence[tuple[float, float, bool]], bright: bool = True) -> list[Path]:
    """Raw files of a plan of (east, north, on target), two minutes apart."""
    paths = []
    for number, (east, north, on_target) in enumerate(plan):
        minute = 2.0 * number
        light = {}
        for array in ARRAYS:
            field = stars(1 if on_target else 2, 6 if on_target else 1, east % 100, north)
            if on_target and bright:
                field = field + galaxy(array, east, north)
            light[array] = field + sky_level(minute)
        paths.append(take(folder, number, light, minutes=minute, RAOFFSET=east, DECOFFSE=north))
    return paths


def reduce(paths: Sequence[Path], flat: Path, **sky: Any) -> tuple[list[FrameRef], list[str]]:
    told: list[str] = []

    def tell(event: str, /, **facts: Any) -> None:
        told.append(in_words(event, **facts))

    context = Context(paths[0].parent, {"skyCorrect": sky}, flat=flat, notify=tell)
    return run_recipe(recipes.reduce_nostack, frames(paths), context), told


INTERLEAVED = [
    (-300, 0, False), (0, 0, True), (0.3, 0, True), (-303, 0, False), (0, 0.3, True), (0.3, 0.3, True),
    (-300, 3, False),
]  # fmt: skip


# --- flats -------------------------------------------------------------------------------------------


def test_the_flat_is_the_response_within_its_noise(flat: Path) -> None:
    frame = open_frame(flat)
    good = []
    for index, array in enumerate(ARRAYS):
        chip = read_chip(frame, index)
        usable = chip.mask == 0
        true = RESPONSE[array] / NORM
        chi = ((chip.data - true) / np.sqrt(chip.variance))[usable]
        assert chi.std() == pytest.approx(1.0, abs=0.05)
        assert np.median((chip.data / true)[usable]) == pytest.approx(1.0, abs=1e-3)
        assert (chip.mask[DEAD] & dq.BAD).all()
        assert usable.mean() > 0.99
        good.append(chip.data[usable])
    assert np.median(np.concatenate(good)) == pytest.approx(1.0, abs=1e-4)
    table = read_table(flat, "PROVENANCE")
    assert table is not None
    assert len(table) == 12
    assert all(len(md5) == 32 for md5 in table["md5"])


def test_lamp_on_alone_is_refused_unless_told(flats: list[Path], tmp_path: Path) -> None:
    lit = frames(flats[:6])
    with pytest.raises(MissingCalibration, match="no lamp-off frames"):
        run_recipe(recipes.makeProcessedFlat, lit, Context(tmp_path))
    told = {"makeFlat": {"lamp_on_only": True}}
    made = run_recipe(recipes.makeProcessedFlat, lit, Context(tmp_path, told))
    assert made[0].header["FLATKIND"] == "lamp on only"


def test_lamp_on_alone_is_marked_and_warned_of_where_it_is_the_custom(
    flats: list[Path], tmp_path: Path
) -> None:
    told = []
    lit = [frame.with_(header=frame.header.copy()) for frame in frames(flats[:6])]
    for frame in lit:
        frame.header["FILTER1"] = "J_G1102"
    context = Context(tmp_path, notify=lambda event, **facts: told.append(in_words(event, **facts)))
    made = run_recipe(recipes.makeProcessedFlat, lit, context)
    assert made[0].header["FLATKIND"] == "lamp on only"
    assert any(text.startswith("warning") and "usual in J" in text for text in told)


def test_the_calibration_unit_s_closed_shutter_is_lamp_off(flats: list[Path], tmp_path: Path) -> None:
    found = [frame.with_(header=frame.header.copy()) for frame in frames(flats)]
    for place, frame in enumerate(found):
        frame.header.update({"OBJECT": "GCALflat", "OBSTYPE": "FLAT", "GCALLAMP": "IRhigh"})
        frame.header["GCALSHUT"] = "OPEN" if place < 6 else "CLOSED"
    made = run_recipe(recipes.makeProcessedFlat, found, Context(tmp_path))
    assert (made[0].header["FLATNON"], made[0].header["FLATNOFF"]) == (6, 6)


def test_products_in_electrons_have_gain_1_and_the_read_noise_of_all_their_coadds(
    flat: Path, tmp_path: Path
) -> None:
    plane = {array: np.full((SIDE, SIDE), 3000.0) for array in ARRAYS}
    raw = [take(tmp_path, n, plane, minutes=n, COADDS=4) for n in range(2)]
    for path in raw:
        with fits.open(path, "update") as units:
            for unit, noise in zip(units[1:], (26.53, 19.1, 27.24, 32.26), strict=True):
                unit.header["GAIN"], unit.header["RDNOISE"] = 2.4, noise  # of one coadd, as real headers
    recipe = (recipes.prepare, recipes.separateSky, recipes.correctDetector)
    made = run_recipe(recipe, frames(raw), Context(tmp_path, flat=flat))[0]
    for chip, one in zip(made.chips, (26.53, 19.1, 27.24, 32.26), strict=True):
        assert (chip["GAIN"], chip["RDNOISE"]) == (1.0, pytest.approx(one / 2, abs=0.01))
    assert descriptors_of(made).read_noise == [chip["RDNOISE"] for chip in made.chips]


def test_lamp_frames_that_are_off_are_left_out_by_name(flats: list[Path], tmp_path: Path) -> None:
    plane = {array: np.full((SIDE, SIDE), 9000.0) for array in ARRAYS}
    cards = {"OBJECT": "Domeflat", "OBSCLASS": "dayCal", "FRAME": "AZEL_TOPO"}
    weak = take(tmp_path, 90, plane, EXPTIME=15.0, **cards)
    longer = take(tmp_path, 91, plane, EXPTIME=20.0, **cards)
    refused: dict[str, str] = {}

    def tell(event: str, /, **facts: Any) -> None:
        if event == "refused":
            refused[facts["name"]] = in_words(event, **facts)

    made = run_recipe(
        recipes.makeProcessedFlat, frames([*flats, weak, longer]), Context(tmp_path, notify=tell)
    )
    assert "from the others" in refused["S090.fits"]
    assert "exposure time 20.0" in refused["S091.fits"]
    assert made[0].header["FLATNON"] == 6


def test_hot_pixels_come_from_darks_of_another_exposure(flats: list[Path], tmp_path: Path) -> None:
    rate = np.full((SIDE, SIDE), 3.0)
    rate[50, 60] = 5000.0
    cards = {"OBSTYPE": "DARK", "OBJECT": "Dark", "FILTER1": "Blocked_G1114", "EXPTIME": 60.0}
    darks = [take(tmp_path, n, {a: rate for a in ARRAYS}, minutes=n, **cards) for n in range(80, 83)]
    made = run_recipe(recipes.makeProcessedBPM, frames([*flats, *darks]), Context(tmp_path))
    mask = read_chip(made[0], 0).data
    assert mask[50, 60] != 0
    assert (mask != 0).mean() < 0.01


def test_a_flat_that_moved_is_told(flats: list[Path], flat: Path, tmp_path: Path) -> None:
    told: list[str] = []

    def tell(event: str, /, **facts: Any) -> None:
        told.append(in_words(event, **facts))

    run_recipe(recipes.makeProcessedFlat, frames(flats), Context(tmp_path, flat=flat, notify=tell))
    assert any(line.startswith("info flat against S000_flat.fits") for line in told)


def test_a_bad_pixel_mask_finds_the_dead_pixels(flats: list[Path], tmp_path: Path) -> None:
    made = run_recipe(recipes.makeProcessedBPM, frames(flats), Context(tmp_path))
    mask = read_chip(made[0], 1).data
    assert (mask[DEAD] != 0).all()
    assert (mask != 0).mean() < 0.01


# --- sky ---------------------------------------------------------------------------------------------


def test_a_galaxy_between_interleaved_skies_keeps_its_light(flat: Path, tmp_path: Path) -> None:
    made, told = reduce(night(tmp_path, INTERLEAVED), flat)
    names = [frame.path.name.split("_")[1] for frame in made]
    assert (names.count("skyCorrected.fits"), names.count("flatCorrected.fits")) == (4, 3)
    assert any("the target fills the field" in line for line in told)
    for frame, (east, north, on_target) in zip(made, INTERLEAVED, strict=True):
        if not on_target:
            continue
        for index, array in enumerate(ARRAYS):
            chip = read_chip(frame, index)
            true = galaxy(array, east, north) + stars(1, 6, east, north)
            usable = chip.mask & dq.UNUSABLE == 0
            assert abs(np.median((chip.data - true)[usable])) < 15
            chi = ((chip.data - true) / np.sqrt(chip.variance))[usable & (true < 100)]
            if chi.size > 3000:
                assert 1.4826 * np.median(np.abs(chi - np.median(chi))) == pytest.approx(1, abs=0.03)
        assert frame.header["SKYLEVM"] == "follows time"
        assert frame.header["SKYSIGMA"] < 15


def test_the_noise_of_few_flats_goes_with_the_sky(flats: list[Path], tmp_path: Path) -> None:
    made = run_recipe(recipes.makeProcessedFlat, frames([*flats[:1], *flats[6:7]]), Context(tmp_path))
    products, _ = reduce(night(tmp_path, INTERLEAVED), made[0].path)
    own = read_chip(open_frame(made[0].path), 1)
    pulls = []
    for frame, (east, north, on_target) in zip(products, INTERLEAVED, strict=True):
        if on_target:
            chip = read_chip(frame, 1)
            true = (galaxy(2, east, north) + stars(1, 6, east, north)) * RESPONSE[2] / NORM / own.data
            blank = (chip.mask == 0) & (true < 100)
            pulls.append(((chip.data - true) / np.sqrt(chip.variance))[blank])
            assert (chip.variance[chip.mask & dq.UNUSABLE == 0] > 0).all()
    widths = [1.4826 * np.median(np.abs(pull - np.median(pull))) for pull in pulls]
    assert np.mean(widths) == pytest.approx(1.0, abs=0.02)


def test_a_blank_field_is_levelled_by_its_own_median(flat: Path, tmp_path: Path) -> None:
    made, told = reduce(night(tmp_path, INTERLEAVED, bright=False), flat)
    assert any("sparse field" in line for line in told)
    for frame in made:
        if "_skyCorrected" in frame.path.name:
            middles = [np.median(read_chip(frame, index).data) for index in range(4)]
            assert np.abs(middles).max() < 4


def test_the_first_sky_level_is_the_old_way(flat: Path, tmp_path: Path) -> None:
    made, _ = reduce(night(tmp_path, INTERLEAVED), flat, level="first", offset_sky=False)
    level = made[-2].chips[0]["SKYLEVEL"]
    assert level == pytest.approx(sky_level(0.0), rel=0.01)
    assert made[-2].header["SKYLEVM"] == "first sky"


def test_the_sky_that_is_saved_is_what_was_subtracted(flat: Path, tmp_path: Path) -> None:
    given = {"skyCorrect": {"save_sky": True}, "flatCorrect": {"write_outputs": True}}
    plan = [(0, 0, True), (-300, 0, False), (-303, 0, False)]
    run_recipe(recipes.reduce_nostack, frames(night(tmp_path, plan)), Context(tmp_path, given, flat=flat))
    assert [path.name for path in tmp_path.glob("*_sky.fits")] == ["S000_sky.fits"]
    sky, left, before = (
        read_chip(open_frame(tmp_path / f"S000_{what}.fits"), 1)
        for what in ("sky", "skyCorrected", "flatCorrected")
    )
    known = sky.mask & dq.NO_DATA == 0
    np.testing.assert_allclose((sky.data + left.data)[known], before.data[known], rtol=1e-6)
    assert np.isfinite(sky.data).all() and (sky.variance[known] > 0).all()
    assert np.median(sky.data[known]) == pytest.approx(sky_level(0.0), rel=0.02)


def test_a_sky_of_one_s_own_serves_an_exposure_without_any(flat: Path, tmp_path: Path) -> None:
    plan = [(0, 0, True), (-300, 0, False), (-303, 0, False)]
    (left, *_), _ = reduce(night(tmp_path, plan), flat, save_sky=True, offset_sky=False)
    alone = tmp_path / "alone"
    alone.mkdir()
    target, own = night(alone, plan[:1]), tmp_path / "S000_sky.fits"
    (made,), _ = reduce(target, flat, sky=str(own), offset_sky=False)
    again, with_skies = read_chip(made, 1), read_chip(left, 1)
    good = (again.mask | with_skies.mask) & dq.UNUSABLE == 0
    assert np.median(np.abs(again.data - with_skies.data)[good]) < 2.0
    used = read_table(made.path, "PROVENANCE")
    assert used is not None and "S000_sky.fits" in list(used["filename"])
    for wrong, found in ((target[0], "a raw file"), (made.path, "without its sky")):
        with pytest.raises(BadInput, match=f"{wrong.name} is {found}"):
            reduce(target, flat, sky=str(wrong))
    with pytest.raises(BadInput, match=r"S000_sky\.fits is a product of these exposures"):
        reduce(night(tmp_path, plan[:1]), flat, sky=str(own))
    fits.setval(own, "FILTER1", value="H_G1104")
    with pytest.raises(BadInput, match=r"S000_sky.fits: filter H; needed: .* has: filter Kshort"):
        reduce(target, flat, sky=str(own))


@pytest.mark.parametrize("number", [1, 2])
def test_one_or_two_skies_serve(flat: Path, tmp_path: Path, number: int) -> None:
    plan = [(0, 0, True), (0.3, 0, True), *[(-300 - 3 * n, 0, False) for n in range(number)]]
    made, _ = reduce(night(tmp_path, plan), flat)
    chip = read_chip(made[0], 2)
    true = galaxy(3, 0, 0) + stars(1, 6, 0, 0)
    assert abs(np.median((chip.data - true)[chip.mask & dq.UNUSABLE == 0])) < 60


def test_a_dither_is_its_own_sky_and_its_stars_keep_their_light(flat: Path, tmp_path: Path) -> None:
    plan = [(0, 0, True), (3.2, 0, True), (0, 3.2, True), (-3.2, -3.2, True)]
    made, _ = reduce(night(tmp_path, plan, bright=False), flat)
    for frame, (east, north, _) in zip(made, plan, strict=True):
        chip = read_chip(frame, 0)
        true = stars(1, 6, east % 100, north)
        bright = (true > 30) & (chip.mask & dq.UNUSABLE == 0)
        assert chip.data[bright].sum() == pytest.approx(true[bright].sum(), rel=0.03)


def test_a_single_exposure_and_contradictory_wishes_are_refused(flat: Path, tmp_path: Path) -> None:
    paths = night(tmp_path, [(0, 0, True)])
    with pytest.raises(MissingCalibration, match="0 sky exposures"):
        reduce(paths, flat)
    with pytest.raises(BadParameter, match="offset_sky=True and scale_sky=True"):
        reduce(night(tmp_path, INTERLEAVED[:4]), flat, offset_sky=True, scale_sky=True)
    with pytest.raises(MissingCalibration, match="no flat"):
        run_recipe(recipes.reduce_nostack, frames(paths), Context(tmp_path))


def test_lost_pixels_have_no_data_and_the_rest_of_the_exposure_is_used(flat: Path, tmp_path: Path) -> None:
    paths = night(tmp_path, INTERLEAVED)
    for number, array in ((1, 2), (3, 1)):  # one on target, one sky
        with fits.open(paths[number], mode="update") as units:
            units[array].data[:, : SIDE // 2] = np.nan
    made, told = reduce(paths, flat)
    assert len(made) == 7
    half = SIDE * SIDE // 2
    assert any(f"S001.fits: {half} pixels of array 2 not finite" in line for line in told)
    chip = read_chip(made[1], 1)
    assert (chip.mask[:, : SIDE // 2] & dq.NO_DATA).all()
    assert np.isfinite(chip.data).all()
    true = galaxy(2, 0, 0) + stars(1, 6, 0, 0)
    seen = chip.mask & dq.UNUSABLE == 0
    assert seen[:, SIDE // 2 :].mean() > 0.98
    assert abs(np.median((chip.data - true)[seen])) < 15


def test_what_no_sky_shows_has_no_data(flat: Path, tmp_path: Path) -> None:
    """A pattern has nothing there to take off: the sky's own light would stay in the frame."""
    paths = night(tmp_path, INTERLEAVED)
    block = (slice(40, 60), slice(70, 90))
    for number in (0, 3, 6):
        with fits.open(paths[number], mode="update") as units:
            units[1].data[block] = np.nan
    made, _ = reduce(paths, flat)
    for number in (1, 2, 4, 5):
        mask = read_chip(made[number], 0).mask & dq.UNUSABLE
        assert mask[block].all() and np.mean(mask > 0) < 0.02


def test_readout_offsets_come_off(flat: Path, tmp_path: Path) -> None:
    """Channels lie 4 electrons above and below each other in turn; so few columns tell half of it."""
    paths = night(tmp_path, INTERLEAVED, bright=False)
    signs = np.repeat([1.0, -1.0, 1.0, -1.0], SIDE // 4)
    with fits.open(paths[2], mode="update") as units:
        for array in ARRAYS:
            units[array].data = units[array].data + (4.0 * signs / 2.4).astype(np.float32)
    made, _ = reduce(paths, flat)
    left = []
    for index in range(4):
        chip = read_chip(made[2], index)
        kept = np.where(chip.mask & dq.UNUSABLE == 0, chip.data, np.nan)
        left.append(np.nanmean(np.nanmedian(kept, axis=0) * signs))
    assert abs(np.mean(left)) < 2.5


@pytest.mark.parametrize(
    ("how", "number", "part"),
    [("dead", 1, 1), ("dead", 0, 1), ("half", 2, 0.5), ("noise", 6, 1), ("glitch", 4, 1)],
)
def test_a_dead_or_glitched_array_is_left_out_by_name_and_the_others_are_used(
    flat: Path, tmp_path: Path, how: str, number: int, part: float
) -> None:
    paths = night(tmp_path, INTERLEAVED)
    spoil(paths[number], 3, how)
    made, told = reduce(paths, flat)
    assert len(made) == 7
    assert any(
        line.startswith("warning") and "array 3" in line and paths[number].name in line for line in told
    )
    lost = read_chip(made[number], 2).mask & dq.NO_DATA > 0
    assert part <= lost.mean() < part + 0.3
    for frame, (east, north, on_target) in zip(made, INTERLEAVED, strict=True):
        for index, array in enumerate(ARRAYS):
            chip = read_chip(frame, index)
            seen = chip.mask & dq.UNUSABLE == 0
            if on_target and seen.any():
                true = galaxy(array, east, north) + stars(1, 6, east, north)
                assert abs(np.median((chip.data - true)[seen])) < 20
            if frame is not made[number] or array != 3:
                assert seen.mean() > 0.98


def test_an_array_that_is_dead_all_night_has_no_data_and_the_rest_is_right(
    flat: Path, tmp_path: Path
) -> None:
    paths = night(tmp_path, INTERLEAVED)
    for path in paths:
        spoil(path, 3, "dead")
    made, _ = reduce(paths, flat)
    for frame, (east, north, on_target) in zip(made, INTERLEAVED, strict=True):
        assert (read_chip(frame, 2).mask & dq.NO_DATA).all()
        for index, array in enumerate(ARRAYS):
            if on_target and array != 3:
                chip = read_chip(frame, index)
                true = galaxy(array, east, north) + stars(1, 6, east, north)
                assert abs(np.median((chip.data - true)[chip.mask & dq.UNUSABLE == 0])) < 20


def test_an_exposure_without_any_light_is_left_out(flat: Path, tmp_path: Path) -> None:
    paths = night(tmp_path, INTERLEAVED)
    for array in ARRAYS:
        spoil(paths[1], array, "noise")
    made, told = reduce(paths, flat)
    assert len(made) == 6
    assert any(line.startswith("refused left out S001.fits: no array shows the sky") for line in told)


def test_a_frame_without_one_array_is_reduced_with_the_others(flat: Path, tmp_path: Path) -> None:
    paths = night(tmp_path, INTERLEAVED)
    light = {array: galaxy(array, 0, 0) + sky_level(2.0) for array in (1, 2, 4)}
    take(tmp_path, 1, light, minutes=2.0)
    made, told = reduce(paths, flat)
    assert [int(chip["EXTVER"]) for chip in made[1].chips] == [1, 2, 4]
    assert any("S001.fits: no array 3" in line for line in told)


def test_switches_and_intermediate_products(flat: Path, tmp_path: Path) -> None:
    paths = night(tmp_path, INTERLEAVED[:4])
    parameters = {"addVAR": {"write_outputs": True}, "flatCorrect": {"skip_primitive": True}}
    made = run_recipe(recipes.reduce_nostack, frames(paths), Context(tmp_path, parameters))
    before = read_chip(open_frame(tmp_path / "S001_varAdded.fits"), 0)
    assert before.variance.min() > 0
    assert made[1].header["FLATIM"] == "none"
    with_flat = Context(tmp_path, {"addVAR": {"write_outputs": True}}, flat=flat)
    run_recipe(recipes.reduce_nostack, frames(paths), with_flat)
    # It named the flat by which it was not divided yet.
    early = open_frame(tmp_path / "S001_varAdded.fits").header
    assert early["FLATIM"] == "none" and "FLATCORR" not in early
    with pytest.raises(BadInput):
        run_recipe(recipes.makeProcessedFlat, frames(paths), Context(tmp_path))
