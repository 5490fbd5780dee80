"""Tables of stars as people have them: units, epochs, missing motions; what cannot be right is refused."""

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table

from reducer.errors import BadFile
from reducer.references import read_references

DEC = np.linspace(-60.0, -59.9, 8)
#: What moves a star at declination -60 by 100 mas a year east and -50 north, in each unit.
MOTIONS = {
    "mas / yr": (100.0, -50.0),
    "arcsec/yr": (0.1, -0.05),
    "arcsec/century": (10.0, -5.0),
    "arcsec / (100 yr)": (10.0, -5.0),
    "arcsec/ha": (10.0, -5.0),
    "deg/yr": (100 / 3.6e6, -50 / 3.6e6),
    "uas yr**-1": (1e5, -5e4),
}


def table(**columns):
    return Table({"ra": np.full(8, 200.0), "dec": DEC, **columns})


def read(stars, tmp_path, name="t.ecsv", epoch=2026.0):
    stars.write(tmp_path / name, overwrite=True)
    return read_references(tmp_path / name, epoch)


def moved(found):
    """Mean motion east and north, arcsec."""
    east = (found.ra - 200.0) * np.cos(np.radians(found.dec)) * 3600
    return east.mean(), ((found.dec - DEC) * 3600).mean()


@pytest.mark.parametrize("unit", MOTIONS)
def test_proper_motions_in_the_units_that_tables_have(unit, tmp_path):
    stars = table(ref_epoch=np.full(8, 2016.0))
    for name, value in zip(("pmra", "pmdec"), MOTIONS[unit], strict=True):
        stars[name] = np.full(8, value)
        stars[name].unit = unit
    assert moved(read(stars, tmp_path)) == pytest.approx((1.0, -0.5), rel=1e-3)


def test_seconds_of_time_a_year_are_of_right_ascension_itself(tmp_path):
    stars = table(ref_epoch=np.full(8, 2016.0), pmra=0.1 / 15 / np.cos(np.radians(DEC)), pmdec=np.zeros(8))
    stars["pmra"].unit = "s/yr"
    assert moved(read(stars, tmp_path))[0] == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize("value", [0.005, 1.5e-6, 9000.0])
def test_motions_without_a_unit_that_cannot_be_mas_a_year_are_refused_by_name(value, tmp_path):
    stars = table(ref_epoch=np.full(8, 2016.0), pmra=np.full(8, 3.0), pmdec=np.full(8, value))
    with pytest.raises(BadFile, match=r"column pmdec of t\.csv has no unit"):
        read(stars, tmp_path, "t.csv")


def test_an_unknown_unit_of_motion_is_refused_by_name(tmp_path):
    stars = table(ref_epoch=np.full(8, 2016.0), pmra=np.full(8, 3.0))
    stars["pmra"].unit = "km/s"
    with pytest.raises(BadFile, match=r"column pmra of t\.ecsv is in km"):
        read(stars, tmp_path)


def test_motions_without_an_epoch_are_refused(tmp_path):
    """2016 was assumed: 345 mas off, with a stated 2 mas."""
    with pytest.raises(BadFile, match="pmra and pmdec, and says no epoch") as caught:
        read(table(pmra=np.full(8, 30.0), pmdec=np.full(8, 9.0)), tmp_path)
    assert "ref_epoch" in caught.value.remedy


@pytest.mark.parametrize("value", [2000.0, 51544.5, 2451545.0, "J2000.0", "2000-01-01"])
def test_epochs_as_tables_write_them(value, tmp_path):
    stars = table(epoch=[value] * 8, pmra=np.full(8, 100.0), pmdec=np.full(8, -50.0))
    assert moved(read(stars, tmp_path, epoch=2010.0)) == pytest.approx((1.0, -0.5), rel=2e-3)


def test_an_epoch_that_is_none_is_refused_by_name(tmp_path):
    with pytest.raises(BadFile, match=r"column epoch of t\.ecsv holds 16"):
        read(table(epoch=np.full(8, 16.0), pmra=np.full(8, 9.0)), tmp_path)


@pytest.mark.parametrize("said", ["keyword", "description"])
def test_the_epoch_is_found_where_it_is_said(said, tmp_path):
    stars = table(pmra=np.full(8, 100.0), pmdec=np.full(8, -50.0))
    if said == "keyword":
        stars.meta["EPOCH"] = 2016.0
    else:
        stars["ra"].description = "Right ascension (ICRS) at Ep=2016.0"
    assert moved(read(stars, tmp_path)) == pytest.approx((1.0, -0.5), rel=1e-3)


def test_missing_motions_make_a_star_uncertain(tmp_path):
    motion = MaskedColumn(np.full(8, 3.0), mask=np.arange(8) == 5)
    stars = table(ref_epoch=np.full(8, 2016.0), pmra=motion, pmdec=motion, ra_error=np.full(8, 0.5))
    found = read(stars, tmp_path)
    assert found.error[5] > 0.03 and np.delete(found.error, 5) == pytest.approx(0.0005)


@pytest.mark.parametrize(("unit", "factor"), [("hourangle", 1 / 15), ("h", 1 / 15), ("rad", np.pi / 180)])
def test_positions_in_other_units(unit, factor, tmp_path):
    stars = table()
    stars["ra"] = np.full(8, 200.0 * factor)
    stars["ra"].unit = unit
    assert read(stars, tmp_path).ra == pytest.approx(200.0)


def test_errors_in_arcsec(tmp_path):
    stars = table(e_RA_ICRS=np.full(8, 0.02))
    stars["e_RA_ICRS"].unit = "arcsec"
    assert read(stars, tmp_path).error == pytest.approx(0.02)


@pytest.mark.parametrize(("column", "value"), [("dec", 95.0), ("ra", 7e5), ("dec", np.nan)])
def test_positions_that_cannot_be_degrees_are_refused_by_name(column, value, tmp_path):
    stars = table()
    stars[column] = np.full(8, value)
    with pytest.raises(BadFile, match=f"column {column} of t.ecsv"):
        read(stars, tmp_path)
