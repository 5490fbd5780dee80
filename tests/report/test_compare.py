"""Two stacks of one drawn field, the one turned, shifted and fainter: what a comparison says of them."""

from __future__ import annotations

import re

import numpy as np
import pytest
from astropy.io import fits
from small_workspace import primary_header
from typer.testing import CliRunner

from goafetch.cli import app
from goafetch.report.compare_page import list_differences, pair_stacks
from goafetch.report.pictures import find_sky
from goafetch.report.same_sky import lay_onto, match_stars, to_pixels
from goafetch.report.stack_file import read_stack
from reducer.fitsio import write_frame
from reducer.frame import Chip
from reducer.photometry.catalogue import OBJECT

SIZE, SCALE = 500, 0.02 / 3600
#: What the second has otherwise: degrees, mas east and north, its part of the light, seconds.
TURN, AWAY, LIGHT, SECONDS = 20.0, (4.0, -7.0), 0.9, 120.0


def world_of(turn, east, north, ra=201.358):
    """A WCS whose coordinates are too large by so many mas."""
    c, s = SCALE * np.cos(np.radians(turn)), SCALE * np.sin(np.radians(turn))
    dec = -43.033
    return {
        "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": SIZE / 2, "CRPIX2": SIZE / 2,
        "CRVAL1": ra + east / 3.6e6 / np.cos(np.radians(dec)), "CRVAL2": dec + north / 3.6e6,
        "CD1_1": -c, "CD1_2": s, "CD2_1": s, "CD2_2": c,
    }  # fmt: skip


def draw(path, stars, world, light, seconds, *, step="5.0", ra=201.358):
    """A stack of ``stars``: arcsec east, north and electrons a second."""
    truth = world_of(TURN if world["CD1_2"] else 0.0, 0.0, 0.0, ra)
    matrix = 3600 * np.array([[truth["CD1_1"], truth["CD1_2"]], [truth["CD2_1"], truth["CD2_2"]]])
    x, y = np.linalg.inv(matrix) @ stars[:, :2].T + SIZE / 2
    inside = (x > 15) & (x < SIZE - 15) & (y > 15) & (y < SIZE - 15)
    x, y, flux = x[inside], y[inside], light * seconds * stars[inside, 2]
    rng = np.random.default_rng(len(x))
    data = rng.normal(50, 4, (SIZE, SIZE))
    j, i = np.mgrid[1 : SIZE + 1, 1 : SIZE + 1]
    for column, row, electrons in zip(x, y, flux, strict=True):
        data += electrons / (8 * np.pi) * np.exp(-((i - column) ** 2 + (j - row) ** 2) / 8)
    objects = np.zeros(len(x), OBJECT)
    objects["X_IMAGE"], objects["Y_IMAGE"], objects["FLUX_TOTAL"], objects["FLUXERR_TOTAL"] = x, y, flux, 20.0
    steps = np.array([("stackFrames", f'{{"hsigma": {step}}}')], [("primitive", "S20"), ("args", "S40")])
    inputs = np.array(
        [("S1.fits", "0" * 32, "raw input")],
        [("filename", "S20"), ("md5", "S32"), ("provenance_added_by", "S20")],
    )
    tables = {"OBJCAT": objects, "HISTORY": steps, "PROVENANCE": inputs}
    planes = data.astype(np.float32), np.full(data.shape, 16, np.float32), np.zeros(data.shape, np.uint16)
    chip = Chip(*planes, fits.Header(world))
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_frame(path, primary_header(EXPTIME=seconds), [chip], tables=tables)


@pytest.fixture(scope="module")
def stars():
    rng = np.random.default_rng(8)
    return np.column_stack([rng.uniform(-5, 5, (80, 2)), 10 ** rng.uniform(1.5, 3.5, 80)])


@pytest.fixture(scope="module")
def pair(tmp_path_factory, stars):
    folder = tmp_path_factory.mktemp("pair")
    first = draw(folder / "one/S1_image.fits", stars, world_of(0.0, 0.0, 0.0), 1.0, 60.0)
    second = draw(folder / "two/S1_image.fits", stars, world_of(TURN, *AWAY), LIGHT, SECONDS, step="2.5")
    return first, second


def test_the_same_stars_tell_how_light_and_places_differ(pair):
    found = match_stars(*map(read_stack, pair))
    assert len(found.rates) > 40
    assert found.ratio == pytest.approx(1 / LIGHT, rel=1e-3)
    assert np.median(found.away, axis=0) == pytest.approx(AWAY, abs=0.1)


def test_the_second_is_laid_on_the_sky_of_the_first(pair, stars, tmp_path):
    """Where both have a pixel at the same RA and Dec they have the same light."""
    exact = draw(tmp_path / "S2_image.fits", stars, world_of(TURN, 0.0, 0.0), LIGHT, SECONDS)
    first, second = read_stack(pair[0]), read_stack(exact)
    there = lay_onto(first, second, second.half, 2)
    both = np.isfinite(there)
    assert 0.8 < both.mean() < 0.95  # a turned square
    left = first.half[both] - 50 - (there[both] - 50) / LIGHT * 60 / SECONDS
    bright = first.half[both] > 300
    assert (
        np.median(np.abs(left[bright]) / first.half[both][bright]) < 0.05
    )  # at an edge stars are in one only


def test_the_page_has_numbers_pictures_and_what_differed(pair, tmp_path):
    result = CliRunner().invoke(app, ["compare", *map(str, pair), "--into", str(tmp_path)])
    assert result.exit_code == 0, result.output
    page = (tmp_path / "compare_S1_image.html").read_text(encoding="utf-8")
    assert page.count("data:image/png") == 3 and "Blink" in page
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)[^\"]*\"", page)
    assert "one/S1_image.fits" in page and "two/S1_image.fits" in page
    assert "stackFrames:hsigma" in page and "+4.0" in page and "-7.0" in page
    assert list_differences(*pair) == {"Parameters": [("stackFrames:hsigma", "5.0", "2.5", "")]}
    assert list_differences(pair[0], pair[0]) == {}


def test_what_cannot_be_compared_is_refused_and_said_why(pair, tmp_path, stars):
    far = draw(tmp_path / "far_image.fits", stars, world_of(0.0, 0.0, 0.0, 150.0), 1.0, 60.0, ra=150.0)
    cases = {
        (pair[0], pair[0]): "the same file",
        (pair[0], far): "no sky in common",
        (pair[0], tmp_path / "nothing.fits"): "there is no",
        (pair[0], tmp_path): "run.json is missing",
    }
    for paths, words in cases.items():
        result = CliRunner().invoke(app, ["compare", *map(str, paths), "--into", str(tmp_path)])
        assert result.exit_code in (1, 2) and words in result.output.replace("\n", " "), result.output


def test_stacks_of_workspaces_are_paired_by_target_and_filter(workspace, pair):
    assert len(pair_stacks(workspace, workspace)) == 1
    assert pair_stacks(workspace, pair[0])[0][1] == pair[0]


def test_the_sky_of_a_pixel_is_its_pixel_again(pair):
    world = read_stack(pair[1]).world()
    x, y = np.array([1.0, 250.0, 500.0]), np.array([33.0, 250.0, 1.0])
    back = to_pixels(world, *find_sky(world, x, y))
    assert np.abs(np.array(back) - (x, y)).max() < 1e-4
