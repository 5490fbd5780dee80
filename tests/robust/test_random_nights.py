"""What random nights are drawn to be, and that their judge can say 'bad'."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from goafetch.practice.exposure.scene import sparse_field


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")


def test_nights_have_every_scenery_epoch_port_filter_and_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    import random_night
    from random_night import DOUBTFUL, EPOCHS, FILTERS, HARMLESS, OTHERS, SCENERIES, draw

    monkeypatch.setattr(random_night, "make_field", lambda *place, stars, **_: sparse_field(*place, 5))
    nights = [draw(seed) for seed in range(300)]
    assert {night.scenery for night in nights} == set(SCENERIES)
    assert {night.program.night.epoch for night in nights} == set(EPOCHS)
    assert {night.program.night.port for night in nights} == {1, 5}
    assert {e.filter1 for night in nights for e in night.program.exposures if e.field} == set(FILTERS)
    assert {trouble for night in nights for trouble in night.troubles} == {*HARMLESS, *DOUBTFUL, *OTHERS}
    for night in nights:
        names = {e.name for e in night.program.exposures if e.kind == "science" and e.field != "elsewhere"}
        assert night.must | night.may == names and not night.must & night.may


@pytest.mark.parametrize(
    ("wheel", "gcal", "dark", "asked"),
    [
        ("H_G1103", False, False, False),
        ("H_G1103", True, False, True),
        ("H_G1103", False, True, True),
        ("J_G1102", False, False, True),
    ],
)
def test_science_that_no_flat_serves_is_not_asked_of_a_run(
    wheel: str, gcal: bool, dark: bool, asked: bool
) -> None:
    from random_night import _asked, _calibration_unit, _in_filter, _no_lamp_off, draw

    night = next(n for n in map(draw, range(50)) if not n.troubles)
    night = replace(night, program=_in_filter(night.program, wheel))
    if not dark:
        night = (_calibration_unit if gcal else _no_lamp_off)(night, np.random.default_rng(0))
    found = _asked(night)
    assert found.must == (night.must if asked else frozenset())
    assert found.must | found.may == night.must | night.may


def test_exposures_that_are_left_out_without_a_word_are_a_fault(tmp_path: Path) -> None:
    from judge_night import judge
    from random_night import draw

    night = next(n for n in map(draw, range(50)) if not n.troubles)
    first, *others = sorted(night.must)
    (tmp_path / "playground").mkdir()
    (tmp_path / "program.json").write_text("{}")
    (tmp_path / "exposures.json").write_text("[]")
    said = [{"name": f"{name}_skyCorrected.fits", "reason": "its stars are double"} for name in others]
    (tmp_path / "playground/run.json").write_text(json.dumps({"exclusions": said}))
    result = judge(night, tmp_path, tmp_path, 1)
    assert [fault.split(":")[0] for fault in result.faults] == ["lost", "silent"]
    assert result.faults[1].endswith(f"{[first]}") and result.lost == len(night.must)


def test_an_exposure_that_shows_no_star_of_the_others_may_be_left_out(tmp_path: Path) -> None:
    from judge_night import Sight, lonely

    places = {
        "bright": (300.0, 300.0, 1e6),
        "faint": (300.0, 300.0, 1e3),
        "edge": (5.0, 300.0, 1e6),
        "dead": (100.0, 100.0, 1e6),
    }
    columns = [("id", int), ("array", int), *((k, float) for k in ("x", "y", "electrons", "core_fraction"))]
    response = np.ones((4, 512, 512), np.float32)
    response[0, 98:102, 98:102] = 0.0
    np.savez(tmp_path / "detector.npz", response=response, dark=response)
    (tmp_path / "positions").mkdir()
    names = ["first", "bright", "faint", "edge", "dead"]
    entry = {"regions": [[1, 1, 512, 512]] * 4, "sky_electrons": 1000.0}
    (tmp_path / "program.json").write_text("{}")
    (tmp_path / "exposures.json").write_text(json.dumps([{"name": name} | entry for name in names]))
    for name in names:
        x, y, light = places[name if name in places else "bright"]
        np.save(tmp_path / f"positions/{name}.npy", np.array([(7, 1, x, y, light, 0.4)], columns))
    assert lonely(Sight.read(tmp_path), names) == {"faint", "edge", "dead"}


@pytest.mark.parametrize("light", ["good", "look"])
def test_a_page_that_calls_an_unsure_sky_good_is_found(tmp_path: Path, light: str) -> None:
    from judge_night import is_called_good

    (tmp_path / "report").mkdir()
    lines = ('<a href="stack_N_image.png">', '<li class="good">\n<h3>Noise <span>', f'<li class="{light}">')
    (tmp_path / "report/index.html").write_text("\n".join(lines) + "\n<h3>Sky <span>")
    assert is_called_good(tmp_path / "playground/N_image.fits") is (light == "good")
    assert is_called_good(tmp_path / "playground/M_image.fits") is False


def twice(*, light: float = 1.0, turn: float = 0.0, bend: float = 0.0, moved: float = 0.0) -> tuple[Any, Any]:
    """Forty stars as measured in the truth and in a stack, of that part of the light, and its mapping."""
    rng = np.random.default_rng(3)
    place = rng.uniform(100.0, 1900.0, (40, 2))
    away = place - 1000.0
    found = place + turn * away[:, ::-1] * [-1.0, 1.0] + bend * away**2 + moved * rng.standard_normal((40, 2))
    electrons = 10 ** rng.uniform(3.5, 5.5, 40)
    noise = np.full(40, 200.0)
    measured = light * electrons + noise * rng.standard_normal(40)
    true = np.c_[place, electrons, noise, 30.0 / electrons]
    return true, np.c_[found, measured, noise, 30.0 / electrons]


@pytest.mark.parametrize(("light", "faults"), [(1.0, []), (0.985, []), (0.96, ["flux"]), (1.04, ["flux"])])
def test_a_stack_that_loses_light_of_its_stars_is_found(light: float, faults: list[str]) -> None:
    from judge_night import Judgement, _judge_fluxes

    result = Judgement()
    _judge_fluxes(result, *twice(light=light))
    assert [fault.split(":")[0] for fault in result.faults] == faults
    assert result.figures["flux"] == pytest.approx(light - 1.0, abs=0.004)


@pytest.mark.parametrize(
    ("wrong", "faults"),
    [({}, []), ({"turn": 1e-3}, ["rotation"]), ({"bend": 1e-6}, ["places"]), ({"moved": 0.3}, ["places"])],
)
def test_a_stack_that_puts_its_stars_elsewhere_is_found(
    wrong: dict[str, float], faults: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import judge_night
    from astropy.wcs import WCS

    wcs = WCS(naxis=2)
    wcs.wcs.crpix, wcs.wcs.cdelt = (1000.0, 1000.0), (-0.02 / 3600, 0.02 / 3600)
    wcs.wcs.ctype, wcs.wcs.crval = ("RA---TAN", "DEC--TAN"), (201.0, -43.0)
    seen = judge_night.Seen(*np.zeros((4, 2, 2)), wcs, 0.02, {"one": 1.0}, (0, 0))
    monkeypatch.setattr(judge_night, "_own", lambda truth, name, true: np.zeros((len(true), 2)))
    result = judge_night.Judgement()
    judge_night._judge_places(result, None, seen, (201.0, -43.0), *twice(**wrong))
    assert [fault.split(":")[0] for fault in result.faults] == faults


def test_stars_are_measured_alike_in_a_stack_and_in_its_truth_and_where_it_is_moved() -> None:
    from judge_night import Seen, _measure_both, _step

    y, x = np.mgrid[:500, :500]
    stars = [(150.3, 160.8, 900.0), (330.1, 170.2, 500.0), (240.6, 340.4, 700.0), (262.0, 335.0, 90.0)]
    truth = sum(peak * np.exp(-0.5 * ((x - a) ** 2 + (y - b) ** 2) / 9.0) for a, b, peak in stars)
    noise = np.random.default_rng(2).standard_normal((500, 500))
    image = 0.9 * np.roll(truth, (7, -12), (0, 1)) + noise
    step = _step(image, truth, 0.02)
    assert step == (-12, 7)
    seen = Seen(
        image,
        np.ones((500, 500)),
        *[np.roll(truth, step, (1, 0))] * 2,
        None,
        0.02,
        {"a": 0.5, "b": 0.5},
        step,
    )
    true, found = _measure_both(seen, *np.array(stars[:3])[:, :2].T)
    np.testing.assert_allclose(true[:, :2], np.array(stars)[:3, :2], atol=0.3)
    np.testing.assert_allclose(found[:, :2] - true[:, :2], [step] * 3, atol=0.05)
    assert (np.abs(found[:, 2] / true[:, 2] - 0.9) < 4 * found[:, 3] / true[:, 2]).all()


def test_stars_from_which_a_trailed_exposure_was_rejected_are_right_and_dimmer_ones_are_not() -> None:
    from judge_night import FLUX_AT, Judgement, _between, _judge_fluxes

    whole, sound = np.full(20, 0.95e6), np.full(20, 1e6)
    for light, faults in ((1e6, []), (0.95e6, []), (0.97e6, []), (0.9e6, ["flux"]), (1.05e6, ["flux"])):
        found, true, result = np.ones((20, 5)), np.ones((20, 5)), Judgement()
        found[:, FLUX_AT] = light
        true[:, FLUX_AT] = _between(whole, sound, found[:, FLUX_AT])
        _judge_fluxes(result, true, found)
        assert [fault.split(":")[0] for fault in result.faults] == faults


def test_a_stack_of_a_dimmed_exposure_is_judged_by_its_light_undimmed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import judge_night
    from astropy.io import fits
    from astropy.table import Table
    from astropy.wcs import WCS

    wcs = WCS(naxis=2)
    wcs.wcs.cdelt, wcs.wcs.ctype = (-0.0197 / 3600, 0.0197 / 3600), ("RA---TAN", "DEC--TAN")
    clear = {"one": 1.0, "two": 0.5}
    rows = Table({"filename": list(clear), "weight": [0.6, 0.4], "transparency": list(clear.values())})
    rows["transparency_error"] = 0.01
    planes = {"SCI": np.full((4, 4), 10.0), "VAR": np.ones((4, 4)), "DQ": np.zeros((4, 4)), "EXPTIME": 1.0}
    units = [
        fits.ImageHDU(np.broadcast_to(plane, (4, 4)).copy(), wcs.to_header(), name=name)
        for name, plane in planes.items()
    ]
    stack = tmp_path / "one_image.fits"
    fits.HDUList([fits.PrimaryHDU(), *units, fits.BinTableHDU(rows, name="EXPOSURES")]).writeto(stack)
    truth = judge_night.Sight(tmp_path, {}, {n: {"transmission": 0.9 * each} for n, each in clear.items()})
    seen_alone = {name: (np.full((4, 4), 10.0 * each), np.ones((4, 4))) for name, each in clear.items()}
    monkeypatch.setattr(judge_night, "_member", lambda truth, stack, name, *_: seen_alone[name])
    monkeypatch.setattr(judge_night, "_step", lambda *_: (0, 0))
    result = judge_night.Judgement()
    seen = judge_night._see(result, truth, stack, list(clear))
    np.testing.assert_allclose(seen.model, seen.image, rtol=1e-6)
    assert not result.faults and result.figures["scale"] == pytest.approx(0.0, abs=1e-6)
