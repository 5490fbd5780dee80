"""Tables of standards: what users write, what is published, and which star is meant."""

import pytest

from reducer.errors import BadFile
from reducer.headers.descriptors import Descriptors
from reducer.references import find_magnitude, in_filter, published, read_standards


def target(filter_name, name="", ra=None, dec=None):
    """An exposure of a target in a filter."""
    cards = {"OBJECT": name, "RA": ra, "DEC": dec, "FILTER1": filter_name, "FILTER2": "Clear"}
    given = {key: card for key, card in cards.items() if card is not None}
    return Descriptors({"INSTRUME": "GSAOI", **given}, ())


def test_a_row_for_each_star_and_filter(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text("name,ra,dec,filter,mag,error\nA,10.0,-20.0,Kshort,12.0,0.01\nA,10.0,-20.0,H,12.3,0.02\n")
    found = find_magnitude(read_standards(path), target("H", "a"), True)
    assert (found.value, found.error, found.source) == (12.3, 0.02, "s.csv")


def test_a_column_for_each_band_and_sexagesimal_positions(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text("RA,Dec,J,e_J,Ks,e_Ks\n08:25:36.1,-39:05:59,11.949,0.006,11.609,0.004\n")
    found = find_magnitude(read_standards(path), target("Kshort", "", 126.4004, -39.0997), True)
    assert found.value == 11.609
    assert found.error == pytest.approx(0.0108, abs=1e-4)


@pytest.mark.parametrize(("band", "wanted"), [("Ks", "Kshort"), ("K'", "Kprime"), ("kp", "Kprime")])
def test_a_band_means_the_same_in_a_row_as_at_the_head_of_a_column(tmp_path, band, wanted):
    """A row's 'Ks' counted as the filter itself, a column's as a band near it."""
    (tmp_path / "rows.csv").write_text(f"name,filter,mag,error\nA,{band},12.0,0.01\n")
    (tmp_path / "columns.csv").write_text(f"name,{band.replace(chr(39), 'prime')},e_{band}\nA,12.0,0.01\n")
    rows, columns = (
        find_magnitude(read_standards(tmp_path / name), target(wanted, "A"), True)
        for name in ("rows.csv", "columns.csv")
    )
    assert (rows.value, rows.error > 0) == (columns.value, True)
    if band == "Ks":
        assert rows.error == columns.error == pytest.approx(0.0141, abs=1e-4)


def test_a_published_star_is_known_by_its_place_not_by_its_name():
    stars = published()
    assert len(stars) == 65
    there = find_magnitude(stars, target("J", "anything", 126.4004, -39.0997), False)
    assert (there.value, there.star) == (11.949, "9132")
    assert "Persson" in there.source
    assert find_magnitude(stars, target("J", "9132", 246.8083, -24.6889), False) is None


def test_colours_make_the_instruments_filters_of_standard_bands():
    bands = {"J": (12.0, 0.0), "H": (11.6, 0.0), "K": (11.5, 0.0)}
    assert in_filter(bands, target("Kshort"))[0] == pytest.approx(11.5 + 0.002 + 0.026 * 0.5)
    assert in_filter(bands, target("Kprime"))[0] == pytest.approx(11.5 + 0.22 * 0.1)
    assert in_filter(bands, target("H")) == (11.6, 0.0)
    assert in_filter(bands, target("BrG")) is None


@pytest.mark.parametrize(
    ("text", "needed"),
    [("filter,mag\nJ,12\n", "names, or positions"), ("name,colour\nA,red\n", "magnitudes")],
)
def test_a_table_that_will_not_do_says_what_it_has_and_needs(tmp_path, text, needed):
    path = tmp_path / "s.csv"
    path.write_text(text)
    with pytest.raises(BadFile, match=needed):
        read_standards(path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(BadFile, match="no file"):
        read_standards(tmp_path / "none.csv")
