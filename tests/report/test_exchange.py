"""Other programs read the catalogues that lie beside the report, and those that export writes."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.io.votable import parse, validate
from astropy.table import Table
from astropy.wcs import WCS
from regions import CirclePixelRegion, CircleSkyRegion, Regions
from small_workspace import STAR, stack_pixels

from goafetch.report import catalogue_files
from goafetch.report.stack_file import read_stack
from reducer.fitsio.writing import COLUMNS
from reducer.photometry.catalogue import OBJECT

#: A stack's OBJCAT as it is made: a source with light, one with none in total, one with none in an aperture.
MAGNITUDES = [("MAG_APER", "f8", 4), ("MAGERR_APER", "f8", 4), ("MAG_TOTAL", "f8"), ("MAGERR_TOTAL", "f8")]
ROWS = np.zeros(3, [*OBJECT.descr, *MAGNITUDES])
ROWS["NUMBER"] = 1, 2, 3
ROWS["X_IMAGE"], ROWS["Y_IMAGE"] = (101.25, 300.5, 20.0), (55.5, 410.0, 30.0)
ROWS["RA"], ROWS["DEC"] = 201.36676237123, -43.03904865456
ROWS["FWHM_IMAGE"] = 4.0, 5.0, np.nan
ROWS["FLUXERR_TOTAL"] = 100.0
ROWS["MAG_TOTAL"], ROWS["MAGERR_TOTAL"] = (18.123456, np.nan, 20.0), (0.01234, np.nan, 0.1)
ROWS["MAG_APER"][2, 3] = np.nan


@pytest.fixture
def stack(workspace):
    stack = read_stack(workspace / "playground/S20170505S0095_image.fits")
    more = {"PHOTZP": 26.0, "EXPTIME": 60.0}
    return replace(stack, tables={**stack.tables, "OBJCAT": ROWS}, science={**stack.science, **more})


def test_ecsv_holds_every_source_with_units(workspace, page):
    table = Table.read(page.parent / "S20170505S0095_image.ecsv")
    places = stack_pixels()[-1]
    assert len(table) == len(places)
    assert table["X_IMAGE"].unit == "pix"
    np.testing.assert_allclose(table["X_IMAGE"], [x + 1 for x, _ in places])


def test_all_columns_have_a_meaning_and_a_ucd(stack):
    table = catalogue_files.tabulate(stack)
    assert {name for name in table.colnames if not table[name].info.meta["ucd"]} == set()
    assert {name for name in table.colnames if not table[name].description} == set()
    assert set(COLUMNS["OBJCAT"]) <= set(catalogue_files.UCDS)
    assert table["MAG_APER"].description == "Vega, in apertures; radii 8, 16, 32, 50 pixels"
    assert table["MAG_TOTAL"].info.meta["ucd"] == "phot.mag;em.IR.K" and table["RA"].unit == u.deg


def test_every_form_has_the_same_values(stack, tmp_path):
    """Positions to 0.1 mas; a value that is not there is missing, and light has a limit in its place."""
    table = catalogue_files.tabulate(stack)
    forms = {
        "a.ecsv": catalogue_files.as_ecsv(table).encode(),
        "a.fits": catalogue_files.as_fits(table),
        "a.vot": catalogue_files.as_votable(table),
        "a.csv": catalogue_files.as_csv(table).encode(),
    }
    for name, content in forms.items():
        (tmp_path / name).write_bytes(content)
        read = Table.read(tmp_path / name, **({"format": "votable"} if name.endswith("vot") else {}))
        for axis in ("RA", "DEC"):
            assert np.abs(read[axis] - ROWS[axis]).max() * 3.6e6 < 0.1, name
        assert list(np.ma.getmaskarray(read["MAG_TOTAL"])) == [False, True, False], name
        assert read["MAG_TOTAL"][0] == pytest.approx(18.123456, abs=5e-5), name
        # Three times 100 electrons in 60 s.
        assert read["MAG_LIMIT"][1] == pytest.approx(26.0 - 2.5 * np.log10(5.0), abs=5e-5), name
        assert np.ma.is_masked(read["MAG_LIMIT"][0]), name
        last = read["MAG_APER_4"] if name == "a.csv" else read["MAG_APER"][:, 3]
        assert list(np.ma.getmaskarray(last)) == [False, False, True], name
    assert b"nan" not in forms["a.csv"].lower()
    header = fits.getheader(tmp_path / "a.fits", 1)
    number = table.colnames.index("MAG_TOTAL") + 1
    assert header[f"TUCD{number}"] == "phot.mag;em.IR.K" and "Vega" in header[f"TCOMM{number}"]
    page = io.StringIO()
    assert validate(str(tmp_path / "a.vot"), page) or "W" not in page.getvalue(), page.getvalue()


def test_missing_values_have_their_reason(stack):
    """A cell was empty, and nothing said whether there was no light or no measurement."""
    rows = ROWS.copy()
    rows["FLUX_TOTAL"], rows["FLUX_APER"] = (1e4, -5.0, np.nan), 1.0
    rows["FLUX_APER"][2, 3] = -1.0
    table = catalogue_files.tabulate(replace(stack, tables={**stack.tables, "OBJCAT": rows}))
    assert list(table["REASON"]) == [
        "",
        "FLUX_TOTAL not above 0",
        "FLUX_APER not above 0; FLUX_TOTAL not measured; FWHM_IMAGE not measured",
    ]


def test_places_are_in_the_frame_of_the_stack(stack, tmp_path):
    """Regions said ICRS of a stack in FK5: ds9 drew them 30 mas beside the stars."""
    turned = replace(stack, science={**stack.science, "RADESYS": "FK5", "EQUINOX": 2000.0})
    table = catalogue_files.tabulate(turned)
    circle = Regions.parse(catalogue_files.as_regions(turned), format="ds9")[0]
    world = WCS(turned.science).pixel_to_world(ROWS["X_IMAGE"][0] - 1, ROWS["Y_IMAGE"][0] - 1)
    assert circle.center.frame.name == world.frame.name == "fk5"
    votable = parse(io.BytesIO(catalogue_files.as_votable(table)))
    [system] = votable.resources[0].coordinate_systems
    fields = {field.name: field.ref for field in votable.get_first_table().fields}
    assert (system.system, fields["RA"], fields["DEC"]) == ("eq_FK5", system.ID, system.ID)
    header = fits.open(io.BytesIO(catalogue_files.as_fits(table)))[1].header
    assert header["RADESYS"] == "FK5"


def test_the_fits_catalogue_says_each_thing_once(stack):
    """astropy's own comments made of it a VOTable that astropy could not read, on the way through stilts."""
    content = catalogue_files.as_fits(catalogue_files.tabulate(stack))
    assert "COMMENT" not in fits.open(io.BytesIO(content))[1].header


def test_csv_has_as_many_digits_as_mean_something(stack):
    first = next(csv.DictReader(io.StringIO(catalogue_files.as_csv(catalogue_files.tabulate(stack)))))
    assert (first["RA"], first["MAG_TOTAL"], first["MAGERR_TOTAL"]) == ("201.36676237", "18.1235", "0.0123")


def test_regions_are_labelled_circles_on_the_sky(stack):
    found = Regions.parse(catalogue_files.as_regions(stack), format="ds9")
    assert all(isinstance(each, CircleSkyRegion) for each in found)
    assert [str(each.meta["text"]) for each in found] == ["1", "2", "3"]
    assert np.abs([each.center.ra.deg - ROWS["RA"][0] for each in found]).max() * 3.6e6 < 0.1
    # Three FWHM across, at 0.02 arcsec a pixel.
    assert found[0].radius.to_value(u.arcsec) == pytest.approx(1.5 * 4.0 * catalogue_files.pixel_scale(stack))


def test_regions_of_a_table_without_places_lie_on_its_pixels(workspace):
    """A star's circle, by the image's projection, is where the star was put."""
    stack = read_stack(workspace / "playground/S20170505S0095_image.fits")
    first = Regions.parse(catalogue_files.as_regions(stack), format="ds9")[0]
    world = WCS(dict(stack.science))
    pixel = first.to_pixel(world).center
    assert isinstance(first, CircleSkyRegion) and np.hypot(pixel.x - STAR[0], pixel.y - STAR[1]) < 0.01
    bare = replace(stack, science={}, header={})
    first = Regions.parse(catalogue_files.as_regions(bare), format="ds9")[0]
    assert isinstance(first, CirclePixelRegion) and (first.center.x, first.center.y) == pytest.approx(STAR)
