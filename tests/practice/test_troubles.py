"""Each trouble does what its name says, to the exposure that has it and to no other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from goafetch.practice import simulate
from goafetch.practice.exposure import troubles
from goafetch.practice.exposure.night import Night, Program
from goafetch.practice.program import tutorial

NIGHT = Night(size=128, objects=1, skies=0, flats=1, compress=False, stars=40000, noiseless=True)


def expose(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *trouble: str, kind: str = "science"
) -> fits.HDUList:
    """A raw file of one kind of exposure with these troubles, its noiseless electrons beside it."""

    def plan(night: Night) -> Program:
        program = tutorial(replace(night, only=frozenset({kind})))
        exposures = tuple(replace(e, trouble=frozenset(trouble)) for e in program.exposures)
        return replace(program, exposures=exposures)

    monkeypatch.setitem(simulate.PROGRAMS, "one", plan)
    simulate.build_program("one", folder, night=NIGHT, truth=folder / "truth", workers=1)
    return read(folder)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an exposure without any trouble."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("sound")
        expose(folder, patch)
    return folder


@pytest.fixture(scope="module")
def clean(sound: Path) -> fits.HDUList:
    return read(sound)


def read(folder: Path) -> fits.HDUList:
    (path,) = folder.glob("S*.fits")
    with fits.open(path, memmap=False) as units:
        return fits.HDUList([unit.copy() for unit in units])


def noiseless(folder: Path) -> np.ndarray:
    (path,) = (folder / "truth" / "noiseless").glob("*.npy")
    return np.load(path)


def test_troubles_of_one_array_leave_the_others_alone(tmp_path, monkeypatch, clean):
    found = expose(tmp_path, monkeypatch, "dead array 3", "half nan array 1")
    assert not found[3].data.any()
    assert np.isnan(found[1].data).mean() == 0.5
    for index in (2, 4):
        np.testing.assert_array_equal(found[index].data, clean[index].data)


@pytest.mark.parametrize(
    "name", ["glitched array 2", "half dead array 2", "row noise", "reset ramp", "snowballs"]
)
def test_damage_shows_in_the_counts(tmp_path, monkeypatch, clean, name):
    found = expose(tmp_path, monkeypatch, name)
    change = found[2].data - clean[2].data
    rows = np.median(change, axis=1)
    shown = {
        "glitched array 2": rows.max() == troubles.GLITCH and rows.min() == 0.0,
        "half dead array 2": (found[2].data == 0.0).mean() == 0.5,
        "row noise": abs(np.std(rows) / troubles.ROW_NOISE - 1) < 0.3,
        "reset ramp": np.allclose(rows[0], -troubles.RAMP, atol=1.0) and abs(rows[-1]) < troubles.RAMP / 2,
        "snowballs": 0.001 < (np.abs(change) > 50).mean() < 0.5,
    }
    assert shown[name]


def test_stopped_exposures_hold_less_light_and_say_so_in_elapsed_and_utend(tmp_path, monkeypatch, clean):
    found = expose(tmp_path, monkeypatch, "stopped")
    assert found[0].header["EXPTIME"] == clean[0].header["EXPTIME"] == 60.0
    assert found[0].header["ELAPSED"] == pytest.approx(60.0 * troubles.STOPPED + 6.0)
    assert found[0].header["UTEND"] < clean[0].header["UTEND"]
    ratio = np.median(found[4].data) / np.median(clean[4].data)
    assert ratio == pytest.approx(troubles.STOPPED, abs=0.02)


@pytest.mark.parametrize("name", ["doubled", "trailed", "loop opened"])
def test_moved_and_blurred_stars_keep_their_light_and_lose_their_peaks(tmp_path, monkeypatch, sound, name):
    expose(tmp_path, monkeypatch, name)
    before, after = (noiseless(folder)[3] for folder in (sound, tmp_path))
    assert after.sum() == pytest.approx(before.sum(), rel=0.01)
    stars = np.load(next((sound / "truth" / "positions").glob("*.npy")))
    inside = (stars["array"] == 4) & (np.abs(stars["x"] - 1024.5) < 40) & (np.abs(stars["y"] - 1024.5) < 40)
    star = stars[inside][np.argmax(stars["electrons"][inside])]
    place = int(star["y"]) - 961, int(star["x"]) - 961  # the region begins at pixel 961
    peaks = [image[place] - np.median(image) for image in (before, after)]
    assert peaks[1] < 0.8 * peaks[0]


def test_lamps_and_clouds(tmp_path, monkeypatch, sound):
    levels = {}
    for trouble in ("", "lamp dead", "lamp too bright"):
        expose(tmp_path / trouble, monkeypatch, *filter(None, [trouble]), kind="lamp-on")
        levels[trouble] = float(np.median(noiseless(tmp_path / trouble)))
    assert levels["lamp dead"] < 0.2 * levels[""]
    assert levels["lamp too bright"] > 0.8 * troubles.GLARE * levels[""]
    expose(tmp_path / "cloud", monkeypatch, "lit cloud")
    cloud, clear = (np.percentile(noiseless(folder)[1], 20) for folder in (tmp_path / "cloud", sound))
    assert cloud / clear == pytest.approx(troubles.CLOUD, abs=0.1)


def test_offsets_can_be_missing(tmp_path, monkeypatch):
    assert "POFFSET" not in expose(tmp_path, monkeypatch, "no offsets")[0].header
