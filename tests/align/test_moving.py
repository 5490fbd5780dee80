"""Targets that move among the stars: told by their headers, stacked on the target, or refused."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from caged import run_here
from told import Told
from visits import START, build, crowd, moving, skies, visit

from goafetch.api.disco import disco
from goafetch.events import Decided, Warned, words
from goafetch.pipeline.summary import RunReport
from goafetch.practice.pointings import with_target
from reducer.align.global_fit import align_exposures
from reducer.align.moving import find_target
from reducer.errors import CannotAlign
from reducer.frame import tell_nobody
from reducer.headers.descriptors import Descriptors, describe
from reducer.headers.targets import are_tracked, target_motion, tracking_rate

#: Arcsec a second east and north: 20 arcsec an hour; and how bright the target is.
RATE, MAGNITUDE = (0.0039, -0.0039), 15.0


@pytest.fixture(autouse=True)
def _logs_stay_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands write their log where they are started."""
    monkeypatch.chdir(tmp_path)


def header(
    seconds: float = 0.0, rate: tuple[Any, Any] = (0.0, 0.0), dec: float = 60.0, **cards: Any
) -> Descriptors:
    primary = fits.Header()
    when = datetime(2017, 5, 5, 3, 0) + timedelta(seconds=seconds)
    primary.update({"FRAME": "APPT", "RA": 10.0, "DEC": dec, "EXPTIME": 60.0, "COADDS": 1})
    primary.update({"DATE-OBS": when.strftime("%Y-%m-%d"), "UT": when.strftime("%H:%M:%S.0")})
    primary.update({"RATRACK": rate[0], "DECTRACK": rate[1]} | cards)
    return describe(primary, ())


def test_ratrack_is_in_seconds_of_time_and_dectrack_in_arcsec_a_second() -> None:
    assert tracking_rate(header(rate=(0.001, 0.002))) == pytest.approx((0.0075, 0.002), rel=1e-9)


@pytest.mark.parametrize(
    "facts",
    [
        {"rate": (-9999.0, -9999.0)},
        {"rate": (1.00278180321, -0.022292715596), "FRAME": "AZEL_TOPO", "TRKFRAME": "FK5"},
        {"rate": (1.00278180321, -0.022292715596)},
        {"rate": ("none", 0.0)},
    ],
)
def test_missing_rates_and_the_skys_own_are_no_motion(facts: dict[str, Any]) -> None:
    frames = [header(60.0 * number, **facts) for number in range(5)]
    assert tracking_rate(frames[0]) is None
    assert target_motion(frames, 0.08).moves is False


def path(rate: tuple[float, float], moves: float = 1.0, count: int = 5) -> list[Descriptors]:
    """Exposures a minute apart whose RA and DEC follow a rate (arcsec a second) times ``moves``."""
    cards = (rate[0] / 15 / np.cos(np.radians(60.0)), rate[1])
    places = [
        (60.0 * n * rate[0] * moves / 0.5 / 3600, 60.0 * n * rate[1] * moves / 3600) for n in range(count)
    ]
    return [header(60.0 * n, cards, RA=10.0 + ra, DEC=60.0 + dec) for n, (ra, dec) in enumerate(places)]


def test_rates_and_positions_that_agree_are_a_motion_and_its_path() -> None:
    motion = target_motion(path(RATE), 0.08)
    assert motion.moves is True
    assert motion.path[4] == pytest.approx((240 * RATE[0], 240 * RATE[1]), rel=1e-3)


def test_a_motion_below_a_tenth_of_the_fwhm_is_none() -> None:
    slow = path((3e-5, 0.0))
    assert target_motion(slow, 0.08).moves is False
    assert target_motion(slow, 0.06).moves is True
    assert are_tracked(slow, 0.08) == [False] * 5 and are_tracked(slow, 0.06) == [True] * 5


@pytest.mark.parametrize("moves", [0.0, -1.0, 3.0])
def test_rates_against_positions_leave_the_motion_open(moves: float) -> None:
    assert target_motion(path(RATE, moves), 0.08).moves is None


@pytest.mark.parametrize("rate", [("", ""), (-9999.0, -9999.0), (0.0, 0.0)])
def test_positions_that_drift_steadily_without_rates_leave_the_motion_open(rate: tuple[Any, Any]) -> None:
    drift = [60.0 * n * RATE[1] / 3600 for n in range(4)]
    open_one = target_motion([header(60.0 * n, rate, DEC=60.0 + d) for n, d in enumerate(drift)], 0.08)
    assert (open_one.moves, open_one.rated) == (None, False)
    assert open_one.by_positions == pytest.approx(0.70, abs=0.005)
    assert open_one.path[3] == pytest.approx((0.0, 180 * RATE[1]), abs=1e-6)


@pytest.mark.parametrize(
    ("places", "days"),
    [
        ([0.0, 0.0, 8.0, 8.0], 0),  # another pointing
        ([0.0, 0.001, 0.002, 0.003], 0),  # too little to matter
        ([0.0, 0.1, 0.2, 0.3], 100),  # proper motion
        ([0.0, 900.0, 1800.0, 2700.0], 0),  # the sky's own
    ],
)
def test_other_changes_of_the_position_are_no_motion(places: list[float], days: int) -> None:
    frames = [header(n * (60.0 + 86400.0 * days), DEC=60.0 + place / 3600) for n, place in enumerate(places)]
    assert target_motion(frames, 0.08).moves is False


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four exposures of a comet, and three of sky."""
    on_target = moving(visit(95), RATE)
    fields = with_target(on_target, crowd(), (-21.0, 22.0), MAGNITUDE, START)
    return build(tmp_path_factory.mktemp("night") / "raw", [*on_target, *skies(target="COMET")], fields)


def reduce_night(raw: Path, into: Path, **given: Any) -> RunReport:
    return run_here(raw, into=into, catalog="none", phot_catalog="none", **given)


@pytest.fixture(scope="module")
def done(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> RunReport:
    return reduce_night(raw, tmp_path_factory.mktemp("space") / "ws")


#: Pixels of a stack: the aperture's radius (0.3 arcsec), and the ring in which its sky is taken.
RADIUS, RING = 15, (30, 50)


def exposures_of(raw: Path) -> list[dict[str, Any]]:
    """The truth of the exposures of the comet."""
    truth = json.loads((raw.with_name("raw_truth") / "exposures.json").read_text())
    return sorted((one for one in truth if one["kind"] == "science"), key=lambda one: one["name"])


def peak_and_flux(stack: Path, raw: Path) -> tuple[float, float]:
    """Of the comet: its peak, and its light within 0.3 arcsec, electrons."""
    with fits.open(stack) as units:
        image, wcs_header = units["SCI"].data, units["SCI"].header
    with np.load(raw.with_name("raw_truth") / f"catalogue_{exposures_of(raw)[0]['field']}.npz") as stars:
        ra, dec = stars["ra"][-1], stars["dec"][-1]
    x, y = WCS(wcs_header).celestial.all_world2pix(ra, dec, 0)
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    near = np.hypot(rows - y, columns - x) < 40
    top = np.argmax(np.where(near, np.nan_to_num(image), -1e9))
    row, column = np.unravel_index(top, image.shape)
    away = np.hypot(rows - row, columns - column)
    around = np.nanmedian(image[(away > RING[0]) & (away < RING[1])])
    return float(image[row, column]), float(np.nansum(image[away < RADIUS] - around))


def moffat(radius: float, fwhm: float, power: int) -> tuple[float, float]:
    """The share of a star's light within a radius, and its light per square arcsec there."""
    alpha = fwhm / 2 / np.sqrt(2 ** (1 / power) - 1)
    base = 1 + (radius / alpha) ** 2
    return 1 - base ** (1 - power), (power - 1) / np.pi / alpha**2 * base**-power


def shares_of(raw: Path) -> np.ndarray:
    """The part of the comet's light that ``peak_and_flux`` must find in each exposure."""
    radius, ring = RADIUS * 0.02, np.mean(RING) * 0.02
    shares = []
    for one in exposures_of(raw):
        profile = one["profile"]
        core = np.load(raw.with_name("raw_truth") / "positions" / f"{one['name']}.npy")[-1]["core_fraction"]
        outwards = (1 - core / profile["core_fraction"]) / profile["loss"]
        parts = [
            (core, profile["core_fwhm"] * (1 + profile["growth"] * outwards), 4),
            (1 - core, profile["halo_fwhm"], 3),
        ]
        within = sum(part * moffat(radius, *shape)[0] for part, *shape in parts)
        beside = sum(part * moffat(ring, *shape)[1] for part, *shape in parts)
        shares.append(within - beside * np.pi * radius**2)
    return np.array(shares)


def true_light(raw: Path) -> float:
    """All of the comet's light in the first exposure, electrons."""
    first = exposures_of(raw)[0]
    told = json.loads((raw.with_name("raw_truth") / "program.json").read_text())
    zeropoint = told["zeropoint_on_stack_scale"]["Kshort"]
    return float(first["exptime"] * first["transmission"] * 10 ** (0.4 * (zeropoint - MAGNITUDE)))


def test_the_stack_is_made_on_the_target_which_keeps_its_peak_and_light(done: RunReport, raw: Path) -> None:
    (stack,) = done.stacks
    assert fits.getheader(stack)["NCOMBINE"] == 4
    assert fits.getheader(stack)["TRKDRIFT"] == pytest.approx(3 * 62.6 * np.hypot(*RATE), abs=0.05)
    peak, flux = peak_and_flux(stack, raw)
    first = min(done.workspace.playground.glob("*_skyCorrected.fits"))
    alone, light = peak_and_flux(disco([first], str(done.workspace.root / "alone")), raw)
    # The share of the light in the core changes by 6 % from exposure to exposure.
    assert peak == pytest.approx(alone, rel=0.12)
    told, shown = fits.getdata(stack, "EXPOSURES"), exposures_of(raw)
    clear = np.array([one["transmission"] / shown[0]["transmission"] for one in shown])
    assert (np.abs(told["transparency"] - clear) <= 3 * told["transparency_error"] + 1e-6).all()
    shares = shares_of(raw)
    expected = np.sum(told["weight"] * shares * clear / told["transparency"])
    assert light == pytest.approx(true_light(raw) * shares[0], rel=0.04)
    assert flux / light == pytest.approx(expected / shares[0], rel=0.015)
    assert any("moving target" in words(decision) for decision in done.summary.decisions)


def test_the_stack_says_from_when_to_when_it_was_exposed(done: RunReport, raw: Path) -> None:
    header, shown = fits.getheader(done.stacks[0]), exposures_of(raw)
    begins = [datetime.fromisoformat(one["begin"]).replace(tzinfo=None) for one in shown]
    told = [datetime.fromisoformat(header[key]) for key in ("DATE-BEG", "DATE-END")]
    true = begins[0], begins[-1] + timedelta(seconds=60.0)
    assert all(abs((here - there).total_seconds()) < 0.1 for here, there in zip(told, true, strict=True))
    assert header["AIRMASS"] == pytest.approx(np.mean([one["airmass"] for one in shown]), abs=1e-3)


def test_on_request_the_stack_is_made_on_the_stars_and_the_smear_is_said(
    done: RunReport, raw: Path, tmp_path: Path
) -> None:
    frames, told = sorted(done.workspace.playground.glob("*_skyCorrected.fits")), Told()
    on_stars = [("adjustWCSToReference:method", "sources")]
    smeared = disco(frames, str(tmp_path / "stack"), parameters=on_stars, notify=told)
    assert "on_stars_as_asked" in [event.fact for event in told.of(Warned)]
    assert peak_and_flux(smeared, raw)[0] < 0.6 * peak_and_flux(done.stacks[0], raw)[0]
    residuals = fits.getdata(smeared, "RESIDUALS")
    assert np.median(np.hypot(residuals["DX"], residuals["DY"])) < 0.005


def test_rates_that_contradict_the_positions_are_refused_with_both_and_a_remedy(
    done: RunReport, tmp_path: Path
) -> None:
    frames = []
    for path in sorted(done.workspace.playground.glob("*_skyCorrected.fits")):
        frames.append(tmp_path / path.name)
        with fits.open(path) as units:
            units[0].header["RA"], units[0].header["DEC"] = 201.357917, -43.033056
            units.writeto(frames[-1])
    with pytest.raises(CannotAlign, match=r"0\.00\" from RA and DEC.*method=sources"):
        disco(frames, str(tmp_path / "stack"))


def without_rates(done: RunReport, folder: Path, turn: float) -> list[Path]:
    """The exposures of the comet without rates, RA and DEC drifting ``turn`` times as they do."""
    frames = []
    for path in sorted(done.workspace.playground.glob("*_skyCorrected.fits")):
        frames.append(folder / path.name)
        with fits.open(path) as units:
            card = units[0].header
            del card["RATRACK"], card["DECTRACK"]
            first = fits.getheader(frames[0]) if len(frames) > 1 else card.copy()
            for key in ("RA", "DEC"):
                card[key] = first[key] + turn * (card[key] - first[key])
            units.writeto(frames[-1])
    return frames


def test_a_target_that_drifts_without_rates_is_refused_with_a_remedy(done: RunReport, tmp_path: Path) -> None:
    """It was stacked on the stars, smeared, without a word."""
    with pytest.raises(CannotAlign, match=r"no tracking rates, 1\.0\d\" from RA and DEC.*method=sources"):
        disco(without_rates(done, tmp_path, 1.0), str(tmp_path / "stack"))


@pytest.mark.prove
def test_positions_that_drift_while_the_stars_deny_it_are_no_motion(done: RunReport, tmp_path: Path) -> None:
    told = Told()
    stack = disco(without_rates(done, tmp_path, -1.0), str(tmp_path / "stack"), notify=told)
    assert fits.getheader(stack)["NCOMBINE"] == 4 and "TRKDRIFT" not in fits.getheader(stack)
    assert "on_stars" in [event.fact for event in told.of(Decided)]


def test_exposures_tracked_on_the_stars_are_told_apart_from_those_of_a_comet(
    done: RunReport, tmp_path: Path
) -> None:
    frames = sorted(done.workspace.playground.glob("*_skyCorrected.fits"))
    odd = tmp_path / frames[-1].name
    with fits.open(frames[-1]) as units:
        units[0].header["RATRACK"] = units[0].header["DECTRACK"] = 0.0
        units.writeto(odd)
    stack = disco([*frames[:-1], odd], str(tmp_path / "stack"))
    assert fits.getheader(stack)["NCOMBINE"] == 3


def test_a_target_that_is_seen_is_followed_where_it_went(field: Any) -> None:
    """It strays from the path that its rates say by up to a twentieth of an arcsec, and fades from one."""
    path = np.stack([np.linspace(0, 1.6, 5), np.linspace(0, -0.8, 5)], axis=1)
    away = np.array([[0.0, 0.0], [0.05, 0.0], [0.0, -0.04], [-0.03, 0.03], [9.0, 9.0]])
    frames, _, _ = field(5, 300, 7, moving=path + away + (15.0, 15.0))
    geometries = align_exposures(frames, tell_nobody).geometries
    aligned = [frame.with_(geometry=geometry) for frame, geometry in zip(frames, geometries, strict=True)]
    found = find_target(aligned, path)
    assert found is not None
    assert np.isnan(found[4]).all()
    seen = found[:4] - found[0]
    assert np.hypot(*(seen - (path + away)[:4]).T).max() < 0.005
    assert find_target(aligned, path[::-1] * 3) is None
