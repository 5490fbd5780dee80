"""What is measured on stars for the report: growth curves, and what the alignment left."""

import dataclasses

import numpy as np
import pytest
from small_workspace import stack_in_memory, stack_pixels, write_stack

from goafetch.report import figures
from goafetch.report.figures import (
    draw_exposures,
    draw_growth,
    draw_residuals,
    draw_unaligned,
    measure_growth,
)
from goafetch.report.stack_file import read_stack
from goafetch.report.verdicts import list_bits, list_exposures
from reducer.stack.quality import EXPOSURE, RESIDUAL

SIGMA, LIGHT = 3.0, 5e6


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """The small stack with one bright Gaussian star in a catalogue of its own."""
    made = read_stack(write_stack(tmp_path_factory.mktemp("stack") / "S20170505S0095_image.fits"))
    y, x = np.mgrid[: made.shape[0], : made.shape[1]]
    star = LIGHT / (2 * np.pi * SIGMA**2) * np.exp(-((x - 450) ** 2 + (y - 170.4) ** 2) / (2 * SIGMA**2))
    catalogue = np.zeros(
        2, [("X_IMAGE", "f8"), ("Y_IMAGE", "f8"), ("FLUX_APER", "f8", (4,)), ("FLAGS", "i4")]
    )
    catalogue["X_IMAGE"], catalogue["Y_IMAGE"], catalogue["FLUX_APER"] = 451, 171.4, 1e6
    catalogue[1] = (321, 321, 2e6, 0)  # the brightest stands on the cross of gaps
    _, variance, mask, *_ = stack_pixels()
    data = np.where(mask & 16, np.nan, 10 + star).astype(np.float32)
    about = {name: getattr(made, name) for name in ("path", "header", "science", "seconds")}
    return stack_in_memory(data, variance, mask, tables={"OBJCAT": catalogue}, **about)


def test_a_growth_curve_holds_a_gaussian_stars_light(stack):
    growth = measure_growth(stack)
    assert (growth.x, growth.y) == (451, 171.4)
    assert growth.light[-1] == pytest.approx(LIGHT, rel=1e-3)
    assert growth.holding(0.5) == pytest.approx(SIGMA * np.sqrt(2 * np.log(2)), abs=0.35)
    # Independent pixels of variance 100 within 60 pixels, times the correlation of 1.4.
    assert growth.error[-1] == pytest.approx(1.4 * 10 * np.sqrt(np.pi) * 60, rel=0.02)
    assert "half of it within 0.07" in draw_growth(stack, 0.02).caption


def test_no_star_no_growth_curve(stack):
    assert draw_growth(dataclasses.replace(stack, tables={}), 0.02) is None


def test_residuals_are_drawn_and_outliers_do_not_cross_the_picture(stack):
    rng = np.random.default_rng(4)
    kind = [("exposure", "i4"), ("X_IMAGE", "f4"), ("Y_IMAGE", "f4"), ("DX", "f4"), ("DY", "f4")]
    table = np.zeros(500, kind)
    table["X_IMAGE"], table["Y_IMAGE"] = rng.uniform(1, 640, (2, 500))
    table["DX"], table["DY"] = rng.normal(0, 1e-3, (2, 500))
    table["DX"][0] = 0.05
    figure = draw_residuals(dataclasses.replace(stack, tables={"RESIDUALS": table}))
    assert "500 offsets" in figure.svg and " mas" in figure.svg
    assert draw_residuals(stack) is None


def test_before_alignment_stars_lie_where_the_headers_put_them(stack, monkeypatch):
    """East is right in this stack: what was placed 0.2 arcsec east of its header stood to the left."""
    drawn = {}
    monkeypatch.setattr(
        "goafetch.report.figures._draw_arrows",
        lambda table, x, y, shape, prefix: (drawn.update(x=x, y=y), ("<svg>", 200.0))[1],
    )
    residuals, exposures = np.zeros(4, RESIDUAL), np.zeros(2, EXPOSURE)
    residuals["exposure"] = [1, 1, 2, 2]
    exposures["shift_east"], exposures["shift_north"] = [0.2, -0.2], [0.0, 0.3]
    assert draw_unaligned(dataclasses.replace(stack, tables={"RESIDUALS": residuals, "EXPOSURES": exposures}))
    assert drawn["x"] == pytest.approx([-0.2, -0.2, 0.2, 0.2])
    assert drawn["y"] == pytest.approx([0.15, 0.15, -0.15, -0.15])
    assert draw_unaligned(stack) is None


def test_tables_show_the_columns_that_a_product_has(stack):
    table = np.array(
        [("S1.fits", 60.0, 0.0921, 0.314)],
        [("filename", "U20"), ("seconds", "f8"), ("fwhm", "f8"), ("strehl", "f8")],
    )
    listed = list_exposures(dataclasses.replace(stack, tables={"EXPOSURES": table}))
    assert dict(zip(listed.heads, listed.rows[0], strict=True)) == {
        "file": "S1.fits", "seconds": "60", "FWHM (mas)": "92", "Strehl": "31.4%",
    }  # fmt: skip
    assert list_exposures(stack).rows == []


def test_the_masks_bits_are_named_with_their_share(stack):
    shares = dict(list_bits(stack).rows)
    assert {name.split(": ")[0] for name in shares} == {"1", "16"}
    cross = (2 * 18 * 640 - 18**2) / 640**2
    assert float(next(v for k, v in shares.items() if k.startswith("16")).rstrip("%")) == pytest.approx(
        100 * cross, rel=0.02
    )


def test_residuals_of_a_fit_through_all_its_stars_are_not_drawn(stack):
    """They are numerical noise of 1e-6 mas, and were drawn with that unit."""
    table = np.zeros(4, RESIDUAL)
    table["DX"], table["DY"] = 1e-12, -1e-12
    assert draw_residuals(dataclasses.replace(stack, tables={"RESIDUALS": table})) is None


def test_exposures_without_residuals_are_drawn_on_an_axis_that_holds_them(stack, monkeypatch):
    """Two exposures 1.1 minutes apart, whose residuals are not known, stood on an axis of 0.05 minutes."""
    table = np.zeros(2, EXPOSURE)
    table["ut"], table["fwhm"] = ["2017-05-05T03:00:00", "2017-05-05T03:01:06"], 0.08
    table["rms"] = table["strehl"] = np.nan
    drawn = []
    monkeypatch.setattr(figures, "as_svg", lambda figure, *_: drawn.append(figure) or "")
    assert draw_exposures(dataclasses.replace(stack, tables={"EXPOSURES": table})) is not None
    assert [axes.get_xlim() for axes in drawn[0].axes] == [pytest.approx((-0.055, 1.155))] * 2
