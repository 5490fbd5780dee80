"""Stacks of one drawn field in three filters, whose stars have known colours: what is said of them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from drawn_standard import moffat
from raw_exposure import WIDTHS
from small_workspace import primary_header, story
from typer.testing import CliRunner

from goafetch.cli import app
from goafetch.report.colour_page import choose_stacks, layer_of, paint
from goafetch.report.page import make_report
from goafetch.report.run_summary import write_summary
from goafetch.report.same_sky import lay_onto, lay_stack
from goafetch.report.star_colours import measure_colours
from reducer.fitsio import read_table, write_frame
from reducer.frame import Chip
from reducer.photometry.catalogue import OBJECT, RADII
from reducer.sources import detect_sources

SIZE, SCALE, SECONDS, SKY = 420, 0.02, 60.0, 60.0
TARGET = (201.358, -43.033)
#: By filter: its wheel's name, zeropoint, FWHM in pixels, and how its coordinates are wrong: degrees, mas.
FILTERS = {
    "Kshort": ("Kshort_G1105", 26.1, 4.0, (0.0, 0.0, 0.0)),
    "H": ("H_G1103", 26.7, 4.4, (0.02, 140.0, -60.0)),
    "J": ("J_G1102", 26.6, 5.2, (-0.03, -90.0, 75.0)),
}
#: Stars that J does not show, by far redder than the others.
RED = slice(0, 12)


@pytest.fixture(scope="module")
def field():
    """Arcsec east and north, and magnitudes by filter, of stars that do not touch one another."""
    rng = np.random.default_rng(4)
    places = np.stack(np.meshgrid(*2 * [np.linspace(-3.6, 3.6, 11)]), axis=-1).reshape(-1, 2)
    places = rng.permutation(places) + rng.uniform(-0.12, 0.12, places.shape)
    red = rng.normal(0.75, 0.25, len(places))
    k = rng.uniform(16.5, 20.5, len(places))
    k[RED], red[RED] = rng.uniform(19.0, 19.5, 12), 8.0
    return places, {"Kshort": k, "H": k + 0.25 * red, "J": k + red}


def draw(path, field, name, *, zeropoint=True, catalogue=True, ra=TARGET[0], **more):
    """A stack of the field in a filter, its catalogue by the program's own detection."""
    wheel, zero, fwhm, (turn, east, north) = FILTERS[name]
    places, magnitudes = field
    x, y = SIZE / 2 - places[:, 0] / SCALE, SIZE / 2 + places[:, 1] / SCALE  # 1-based
    light = SECONDS * 10 ** (-0.4 * (magnitudes[name] - zero))
    data = np.full((SIZE, SIZE), SKY)
    j, i = np.mgrid[1 : SIZE + 1, 1 : SIZE + 1]
    for column, row, electrons in zip(x, y, light, strict=True):
        near = np.s_[max(int(row) - 45, 0) : int(row) + 45, max(int(column) - 45, 0) : int(column) + 45]
        data[near] += electrons * moffat(np.hypot(i[near] - column, j[near] - row), fwhm, 4.0)
    rng = np.random.default_rng([*FILTERS].index(name))
    variance = (data + 40.0).astype(np.float32)
    data = (data + np.sqrt(variance) * rng.standard_normal(data.shape) - SKY).astype(np.float32)
    mask = np.zeros(data.shape, np.uint16)
    found = detect_sources(data.copy(), variance, mask, WIDTHS)
    objects = np.zeros(len(found), OBJECT)
    objects["X_IMAGE"], objects["Y_IMAGE"] = found["x"] + 1, found["y"] + 1
    objects["FLUX_APER"], objects["FLUXERR_APER"] = found["flux"], found["flux_error"]
    alpha = fwhm / 2 / np.sqrt(2 ** (1 / 4.0) - 1)
    total = 1.0 / (1.0 - (1.0 + (RADII[0] / alpha) ** 2) ** -3.0)  # of a Moffat profile of power 4
    objects["FLUX_TOTAL"], objects["FLUXERR_TOTAL"] = (
        total * found["flux"][:, 0],
        total * found["flux_error"][:, 0],
    )
    objects["FWHM_IMAGE"], objects["FLAGS"], objects["ERR_POS"] = fwhm, found["flags"], SCALE * found["error"]
    c, s = SCALE / 3600 * np.cos(np.radians(turn)), SCALE / 3600 * np.sin(np.radians(turn))
    header = fits.Header(
        {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": SIZE / 2, "CRPIX2": SIZE / 2,
         "CRVAL1": ra + east / 3.6e6 / np.cos(np.radians(TARGET[1])), "CRVAL2": TARGET[1] + north / 3.6e6,
         "CD1_1": -c, "CD1_2": s, "CD2_1": s, "CD2_2": c}
    )  # fmt: skip
    if zeropoint:
        header["PHOTZP"], header["PHOTZPER"] = zero, 0.02
    primary = primary_header(FILTER1=wheel, EXPTIME=SECONDS, **more)
    tables = {"OBJCAT": objects} if catalogue else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_frame(path, primary, [Chip(data, variance, mask, header)], tables=tables)


@pytest.fixture(scope="module")
def stacks(tmp_path_factory, field):
    folder = tmp_path_factory.mktemp("colour")
    return {name: draw(folder / f"playground/{name}_image.fits", field, name) for name in FILTERS}


@pytest.fixture(scope="module")
def colours(stacks):
    return measure_colours([*stacks.values()])


def values(colours, name):
    return np.ma.filled(np.ma.asarray(colours.table[name], float), np.nan)


@pytest.fixture(scope="module")
def truth(colours, field):
    """The drawn star of each row of the catalogue, by the pixels of the stack in Kshort."""
    x, y = SIZE / 2 - field[0][:, 0] / SCALE, SIZE / 2 + field[0][:, 1] / SCALE
    away = np.hypot(values(colours, "X_IMAGE")[:, None] - x, values(colours, "Y_IMAGE")[:, None] - y)
    assert away.min(axis=1).max() < 2.0
    return np.argmin(away, axis=1)


@pytest.mark.parametrize(("one", "other"), [("J", "H"), ("H", "Kshort"), ("J", "Kshort")])
def test_colours_are_those_drawn_within_their_errors(colours, truth, field, one, other):
    key = f"{one}_{other}"
    off = values(colours, f"COL_{key}") - (field[1][one] - field[1][other])[truth]
    pull = off / values(colours, f"COLERR_{key}")
    clean = (
        np.isfinite(pull) & (values(colours, f"FLAGS_{one}") == 0) & (values(colours, f"FLAGS_{other}") == 0)
    )
    assert clean.sum() > 70
    assert 0.8 < np.std(pull[clean]) < 1.25
    assert abs(np.median(off[clean])) < 0.01


def test_stacks_lie_on_one_grid_to_a_mas(colours, stacks):
    """Coordinates that are wrong by a tenth of an arcsec and turned are mended, stars' places and pixels."""
    for name, found in colours.agreements.items():
        assert np.abs(found.moved + FILTERS[name][3][1:]).max() < 1.0
        assert found.error.max() < 0.5 and found.worst[0] < 1.0
    grid = colours.grid.stack
    bright = np.flatnonzero((colours.grid.stars.signal > 200) & (colours.grid.stars.flags == 0))
    for band in colours.bands:
        laid = lay_onto(grid, band.stack, band.stack.half, 2, band.registration)
        gaps = [middle_of(laid, *at) - middle_of(grid.half, *at) for at in colours.grid.stars.pixels[bright]]
        assert np.abs(np.nanmedian(gaps, axis=0)).max() * 2000 * SCALE < 1.0


def test_a_stack_on_the_grid_has_the_light_and_the_noise_that_it_had(colours):
    """Light about stars, and how means of 8 x 8 pixels scatter, as they do in the stack itself."""
    grid = colours.grid
    bright = np.flatnonzero((grid.stars.signal > 100) & (grid.stars.flags == 0))
    for band in colours.bands:
        if band is grid:
            continue
        laid = lay_stack(grid.stack, band.stack, band.registration)
        assert laid.data.shape == grid.stack.shape and 0.9 < np.isfinite(laid.data).mean() < 1.0
        assert (np.isnan(laid.data) == ((laid.mask & 16) != 0)).all()
        own = band.stack.rows(slice(0, SIZE), True).data
        ratios = []
        for x, y in grid.stars.pixels[bright]:
            place = grid.stars.places[(grid.stars.pixels == (x, y)).all(axis=1)]
            there = np.array(band.pixels(place))[:, 0]
            ratios.append(light_about(laid.data, x, y) / light_about(own, *there))
        assert np.nanmedian(ratios) == pytest.approx(1.0, abs=0.002)
        assert scatter_of_means(laid.data) == pytest.approx(scatter_of_means(own), rel=0.1)
        assert np.nanmedian(laid.variance) == pytest.approx(SKY + 40.0, rel=0.02)


def scatter_of_means(image):
    """Of 8 x 8 pixels, by the fainter half: the others hold stars."""
    means = np.sort(
        image[: SIZE // 8 * 8, : SIZE // 8 * 8].reshape(SIZE // 8, 8, -1, 8).mean(axis=(1, 3)), axis=None
    )
    low, middle = np.nanpercentile(means, (5, 30))
    return middle - low


def light_about(image, x, y):
    """Light within ten pixels."""
    column, row = round(x), round(y)
    part = image[max(row - 15, 0) : row + 15, max(column - 15, 0) : column + 15]
    j, i = np.mgrid[: part.shape[0], : part.shape[1]]
    away = np.hypot(i + max(column - 15, 0) + 1 - x, j + max(row - 15, 0) + 1 - y)
    return np.sum(part * np.clip(10.5 - away, 0, 1))


def middle_of(half, x, y):
    """The middle of light about a star, pixels of 2 x 2."""
    column, row = round((x - 1.5) / 2), round((y - 1.5) / 2)
    j, i = np.mgrid[row - 6 : row + 7, column - 6 : column + 7]
    part = half[j.clip(0, len(half) - 1), i.clip(0, len(half) - 1)]
    return np.array([(axis * part).sum() / part.sum() for axis in (i, j)])


def test_what_a_filter_does_not_show_has_a_limit_that_holds(colours, truth, field):
    limit = values(colours, "MAGLIM_J")
    red = np.flatnonzero(truth < RED.stop)
    assert len(red) == RED.stop and np.isfinite(limit[red]).all()
    assert (limit[red] < field[1]["J"][truth[red]]).all() and limit[red].min() > 23.5
    least, true = values(colours, "COLMIN_J_Kshort")[red], (field[1]["J"] - field[1]["Kshort"])[truth[red]]
    assert (least < true).all() and (least > 4.0).all()
    assert not np.isfinite(values(colours, "COL_J_Kshort")[red]).any()
    assert not np.isfinite(limit[np.isfinite(values(colours, "MAG_J"))]).any()


def test_the_median_star_is_white_and_a_red_one_red(colours, truth, field):
    at = [np.round((values(colours, f"{axis}_IMAGE") - 1.5) / 2).astype(int) for axis in "YX"]

    def about_each(image):
        """Light about each star, all of it whatever the seeing."""
        return np.array([image[j - 8 : j + 9, i - 8 : i + 9].sum() for j, i in zip(*at, strict=True)])

    colour, bright = (field[1]["J"] - field[1]["Kshort"])[truth], field[1]["Kshort"][truth] < 19
    usual = bright & (np.abs(colour - np.median(colour)) < 0.1)
    blue, green, red = (about_each(layer_of(colours, band, 1)) for band in colours.bands)
    assert usual.sum() > 3 and np.median(red[usual] / blue[usual]) == pytest.approx(1.0, abs=0.05)
    assert np.median(green[usual] / blue[usual]) == pytest.approx(1.0, abs=0.05)
    picture = paint(colours, 1).astype(float)
    red, blue = (about_each(picture[..., band]) for band in (0, 2))
    assert np.corrcoef(colour[bright], np.log(red / blue)[bright])[0, 1] > 0.8
    assert (red > 1.2 * blue)[truth < RED.stop].all()


def test_the_command_writes_page_picture_and_catalogue(stacks, tmp_path):
    stem, laid = "NGC5128_J-H-Kshort", {"NGC5128_H_on_Kshort.fits", "NGC5128_J_on_Kshort.fits"}
    command = ["colour", *map(str, stacks.values()), "--into", str(tmp_path), "--grid"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    forms = {f"{stem}.{form}" for form in ("html", "png", "ecsv", "fits", "csv", "vot")}
    assert {path.name for path in tmp_path.iterdir()} == forms | laid
    page = (tmp_path / f"{stem}.html").read_text(encoding="utf-8")
    assert page.count("<figure>") == 2 and "FWHM differs" in page and "instrumental" not in page
    written, plain = Table.read(tmp_path / f"{stem}.ecsv"), Table.read(tmp_path / f"{stem}.fits")
    assert written["COL_J_H"].unit == "mag" and len(plain) == len(written)
    assert written["COL_J_H"].info.meta["ucd"] == "phot.color;em.IR.J;em.IR.H"
    assert written.meta["ZPERR1"] == 0.02 and "nan" not in (tmp_path / f"{stem}.csv").read_text()


def test_colours_without_a_zeropoint_are_instrumental_and_said_so(stacks, field, tmp_path):
    bare = draw(tmp_path / "bare_image.fits", field, "J", zeropoint=False)
    result = CliRunner().invoke(app, ["colour", str(stacks["Kshort"]), str(bare), "--into", str(tmp_path)])
    assert result.exit_code == 0, result.output
    page = (tmp_path / "NGC5128_J-Kshort.html").read_text(encoding="utf-8")
    assert "No zeropoint in J" in page and "J − Kshort (instrumental mag)" in page
    table = Table.read(tmp_path / "NGC5128_J-Kshort.ecsv")
    assert "instrumental" in table["MAG_J"].description and "NOZP1" in table.meta


def test_psf_photometry_of_every_stack_is_taken_while_it_is_of_these_stacks(stacks, colours, tmp_path):
    copies = [Path(shutil.copy2(stacks[name], tmp_path)) for name in ("Kshort", "J")]
    for path in copies:
        objects = Table(read_table(path, "OBJCAT"))
        objects["FLUX_PSF"], objects["FLUXERR_PSF"] = 2 * objects["FLUX_TOTAL"], objects["FLUXERR_TOTAL"]
        assert not measure_colours(copies).grid.is_psf  # not of all
        made = path.parent / f"{path.stem}_psf/{path.stem}_psf.fits"
        made.parent.mkdir()
        objects["X_IMAGE", "Y_IMAGE", "FLUX_PSF", "FLUXERR_PSF", "FLAGS"].write(made)
    found = measure_colours(copies)
    assert found.grid.is_psf and "PSF photometry" in found.table["MAG_J"].description
    shift = np.nanmin(values(found, "MAG_Kshort")) - np.nanmin(values(colours, "MAG_Kshort"))
    assert shift == pytest.approx(-2.5 * np.log10(2), abs=1e-6)
    later = copies[0].stat().st_mtime + 3600
    os.utime(copies[0], (later, later))
    assert not measure_colours(copies).grid.is_psf


def test_what_has_no_colours_is_refused_and_said_why(stacks, field, tmp_path):
    places, magnitudes = field
    other = np.random.default_rng(9).uniform(-3.6, 3.6, places.shape), magnitudes
    far = draw(tmp_path / "far_image.fits", field, "J", ra=150.0, OBJECT="Elsewhere")
    bare = draw(tmp_path / "bare_image.fits", field, "J", catalogue=False)
    strange = draw(tmp_path / "strange_image.fits", (other[0] + 0.05, magnitudes), "J")
    k = stacks["Kshort"]
    cases = {
        (k,): "1 stack given",
        (k, tmp_path): "is a folder",
        (k, k): "are both in Kshort",
        (k, far): "far_image.fits (Elsewhere) show no sky in common",
        (k, bare): "bare_image.fits has no catalogue OBJCAT",
        (k, tmp_path / "nothing.fits"): "nothing.fits",
        (k, strange): "have no stars in common",
    }
    for paths, words in cases.items():
        result = CliRunner().invoke(app, ["colour", *map(str, paths), "--into", str(tmp_path / "out")])
        assert result.exit_code in (1, 2) and words in " ".join(result.output.split()), result.output
    assert not (tmp_path / "out").exists()


def test_a_report_of_several_filters_shows_them_in_colours(stacks, tmp_path):
    root = next(iter(stacks.values())).parents[1]
    paths = [path.relative_to(root).as_posix() for name, path in stacks.items() if name != "H"]
    write_summary(root, story(*paths))
    index = make_report(root).read_text(encoding="utf-8")
    assert 'href="colours_NGC5128.html"' in index and "NGC5128 in J, Kshort" in index
    assert (root / "report/colours_NGC5128.html").exists() and (root / "report/colours_NGC5128.fits").exists()


def test_of_each_filter_the_deepest_stack_is_shown(stacks, field, tmp_path):
    deeper = draw(tmp_path / "deeper_image.fits", field, "J", TEXPTIME=5400.0)
    chosen = choose_stacks([*stacks.values(), deeper, Path("gone.fits")])
    assert chosen == {"NGC5128": [stacks["Kshort"], stacks["H"], deeper]}
    assert choose_stacks([stacks["J"], deeper]) == {}
