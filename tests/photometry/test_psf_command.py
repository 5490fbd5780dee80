"""`goafetch photometry`: what it writes about a stack, and that it agrees with the stack's own catalogue."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from small_workspace import primary_header, wcs_header
from speckled import base_light, draw_field, sources_of
from typer.testing import CliRunner

from goafetch.cli import app
from goafetch.pipeline import psf_photometry
from reducer.fitsio import write_frame
from reducer.frame import Chip, FrameRef
from reducer.photometry.catalogue import OBJECT
from reducer.stack.noise import NOISE


def objects_of(field, sources):
    """OBJCAT of the true stars: light in the first aperture as it is, and the total."""
    inside = np.flatnonzero((field.x > 0) & (field.y > 0) & (field.x < 419) & (field.y < 419))
    objects = np.zeros(len(inside), OBJECT)
    objects["X_IMAGE"], objects["Y_IMAGE"] = field.x[inside] + 1, field.y[inside] + 1
    flux = field.light[inside] * base_light(field.x[inside], field.y[inside])
    objects["FLUX_APER"][:, 0], objects["FLUXERR_APER"][:, 0] = flux, sources["error"][inside]
    objects["FLUX_TOTAL"] = field.light[inside]
    objects["APERCOR"] = -2.5 * np.log10(objects["FLUX_TOTAL"] / flux)
    objects["FLUXERR_TOTAL"] = objects["FLUXERR_APER"][:, 0] * objects["FLUX_TOTAL"] / flux
    objects["FWHM_IMAGE"] = 4.3
    objects["FLAGS"] = np.where(sources["clean"][inside], 0, 8)
    return objects


def write_stack(path, field, *, variance=True):
    header = wcs_header()
    header["PHOTZP"], header["PHOTZPER"] = 25.5, 0.03
    image = field.image
    chip = Chip(image.data, image.variance if variance else 0 * image.variance, image.mask, header)
    noise = np.zeros(63, NOISE)
    noise["n"], noise["ratio"] = np.arange(2, 65), 1.0
    tables = {"OBJCAT": objects_of(field, sources_of(field)), "NOISE": noise}
    return write_frame(path, primary_header(), [chip], tables=tables)


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    return write_stack(tmp_path_factory.mktemp("psf") / "S20170505S0095_image.fits", draw_field(seed=21))


@pytest.fixture(scope="module")
def files(stack):
    result = CliRunner().invoke(app, ["photometry", str(stack), "--json", "--quiet"])
    assert result.exit_code == 0, result.output
    return {Path(row["file"]).name: Path(row["file"]) for row in json.loads(result.stdout)}


def test_magnitudes_agree_with_the_total_light_of_isolated_stars(stack, files):
    """Light by the PSF is tied to the stack's own curve of growth."""
    table = Table.read(files["S20170505S0095_image_psf.ecsv"])
    with fits.open(stack) as units:
        objects = units["OBJCAT"].data
    ratios = []
    for row in objects[(objects["FLAGS"] == 0) & (objects["FLUX_TOTAL"] > 6e4)]:
        away = np.hypot(table["X_IMAGE"] - row["X_IMAGE"], table["Y_IMAGE"] - row["Y_IMAGE"])
        star = table[np.argmin(away)]
        if away.min() < 1 and star["FLAGS"] == 0 and star["NGROUP"] == 1:
            ratios.append(star["FLUX_PSF"] / row["FLUX_TOTAL"])
    assert len(ratios) > 10
    assert abs(np.median(ratios) - 1) < 0.006
    expected = 25.5 - 2.5 * np.log10(table["FLUX_PSF"] / 60.0)
    assert np.allclose(table["MAG_PSF"], expected)


def test_the_catalogue_has_units_and_says_its_zeropoint_apart(files):
    table = Table.read(files["S20170505S0095_image_psf.ecsv"])
    plain = Table.read(files["S20170505S0095_image_psf.fits"])
    assert str(table["RA"].unit) == "deg" and str(table["MAGERR_PSF"].unit) == "mag"
    assert (table["MAGERR_ZP"] == 0.03).all()
    assert table.meta["PHOTZP"] == 25.5 and table.meta["COMPL50"] > 0
    assert np.array_equal(table["FLUX_PSF"], plain["FLUX_PSF"])


def test_other_programs_get_their_lists(files):
    table = Table.read(files["S20170505S0095_image_psf.ecsv"])
    lines = files["S20170505S0095_image.coo"].read_text().splitlines()
    head, rows = lines[:2], lines[3:]
    assert head[0].split() == [
        "NL",
        "NX",
        "NY",
        "LOWBAD",
        "HIGHBAD",
        "THRESH",
        "AP1",
        "PH/ADU",
        "RNOISE",
        "FRAD",
    ]
    assert head[1].split()[:3] == ["1", "420", "420"]
    assert len(rows) == len(table)
    number, x, _, magnitude = rows[0].split()[:4]
    assert number == "1" and float(x) == pytest.approx(table["X_IMAGE"][0], abs=1e-3)
    assert float(magnitude) == pytest.approx(table["MAG_PSF"][0], abs=1e-3)
    chosen = files["S20170505S0095_image.lst"].read_text().splitlines()
    assert chosen[1].split()[0] == "3" and 5 < len(chosen) - 3 < len(rows)
    corner = np.loadtxt(files["S20170505S0095_image.xyt"])
    assert corner[0, 2] == pytest.approx(table["X_IMAGE"][0] - 0.5, abs=1e-3)
    finder = np.loadtxt(files["S20170505S0095_image_starfinder.txt"])
    assert finder[0, 0] == pytest.approx(table["X_IMAGE"][0] - 1, abs=1e-3)


def test_residual_psf_and_page_are_written(files):
    with fits.open(files["S20170505S0095_image_residual.fits"]) as units:
        assert units["SCI"].shape == units["BACKGROUND"].shape == (420, 420)
    with fits.open(files["S20170505S0095_image_psfimage.fits"]) as units:
        assert units["PSF"].data.sum() == pytest.approx(1.0, abs=1e-4)
    text = files["S20170505S0095_image_psf.html"].read_text(encoding="utf-8")
    assert "50 % complete" in text and text.count("<svg") == 4


def test_a_product_without_variance_is_refused(tmp_path):
    path = write_stack(tmp_path / "S20170505S0095_image.fits", draw_field(stars=5), variance=False)
    result = CliRunner().invoke(app, ["photometry", str(path)])
    assert result.exit_code == 1
    assert "has no variance" in result.stderr


def test_a_stack_without_stars_for_a_psf_is_refused(tmp_path):
    field = draw_field(stars=4, faint=2000.0, bright=3000.0, seed=22)
    path = write_stack(tmp_path / "S20170505S0095_image.fits", field)
    result = CliRunner().invoke(app, ["photometry", str(path)])
    assert result.exit_code == 1
    assert "stars can tell the PSF" in result.stderr
    assert not (tmp_path / "S20170505S0095_image_psf").exists()


def test_the_error_of_total_light_is_a_part_of_it_not_magnitudes(monkeypatch):
    """0.1 mag are 9.2 per cent."""
    data = np.random.default_rng(1).normal(0.0, 3.0, (64, 64)).astype(np.float32)
    chip = Chip(data, np.full(data.shape, 9, np.float32), np.zeros(data.shape, np.uint16), fits.Header())
    frame = FrameRef(Path("a.fits"), fits.Header({"INSTRUME": "GSAOI"}), (chip.header,))
    told = SimpleNamespace(at=lambda x, y: (np.full(1, -0.5), np.full(1, 0.1)))
    monkeypatch.setattr(psf_photometry, "correct_apertures", lambda *_: told)
    _, _, total = psf_photometry._sources_of(chip, frame)
    factor, error = total(np.zeros(1), np.zeros(1))
    assert factor[0] == pytest.approx(10**0.2) and error[0] == pytest.approx(0.0921, abs=1e-4)
