"""What --catalog, --phot-catalog and --standards bring to each stack, before and beside the work."""

from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from goafetch.errors import UsageError
from goafetch.events import Warned, silent, words
from goafetch.pipeline.catalogues import CatalogueSearch, Choices
from goafetch.pipeline.run import run
from goafetch.plan.plan import Setup
from goafetch.workspace import Workspace
from reducer.errors import BadFile

POSITIONS = "determineAstrometricSolution"
NOWHERE = "http://127.0.0.1:9"


def stack(kind, name, hour, place=(100.0, -30.0)):
    group = SimpleNamespace(when=datetime(2017, 5, 5, hour), frames=(Path(name),), place=place)
    setup = Setup(
        instrument="GSAOI",
        filter="Kshort",
        exposure_time=60.0,
        coadds=1,
        read_mode="Faint Objects",
        regions=(),
    )
    return SimpleNamespace(kind=kind, setup=setup, groups=(group,), name=name)


class Stack(SimpleNamespace):
    __hash__ = object.__hash__


@pytest.fixture
def references(tmp_path, monkeypatch):
    """Make the references of a run in which some stacks point somewhere, in a place without a network."""
    monkeypatch.setattr("goafetch.pipeline.catalogues._place_of", lambda stack: (100.0, -30.0))
    workspace = Workspace(tmp_path)
    workspace.make()

    def make(*stacks, **choices):
        found = CatalogueSearch(Choices(**choices), workspace, NOWHERE)
        found.begin(stacks)
        return found

    return make


def hashable(item):
    return Stack(**vars(item))


@pytest.mark.parametrize("option", ["catalog", "phot_catalog"])
def test_a_file_that_is_not_there_stops_the_run_before_it_begins(tmp_path, option):
    with pytest.raises(UsageError, match="is no file"):
        run(tmp_path, into=tmp_path / "ws", **{option: tmp_path / "nothing.csv"})
    assert not (tmp_path / "ws").exists()


def test_a_file_without_positions_stops_the_run_before_it_begins(tmp_path):
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    with pytest.raises(BadFile, match="columns a, b"):
        run(tmp_path, into=tmp_path / "ws", catalog=tmp_path / "bad.csv")
    assert not (tmp_path / "ws").exists()


def test_without_a_network_it_is_said_once_and_stacks_go_without(references):
    one, two = (hashable(stack("science", name, hour)) for name, hour in (("a", 1), ("b", 2)))
    found, said = references(one, two), []
    for item in (one, two):
        given = found.of_stack(item, {}, said.append)
        assert given.parameters == {}
        assert given.contents == {}
    assert len(said) == 1
    assert isinstance(said[0], Warned) and "cannot be reached" in words(said[0])


def test_a_file_goes_to_the_stack_and_its_content_into_the_key(references, tmp_path):
    path = tmp_path / "stars.csv"
    path.write_text("ra,dec\n100.0,-30.0\n")
    item = hashable(stack("science", "a", 1))
    found = references(item, catalog=str(path), phot_catalog="none")
    given = found.of_stack(item, {}, silent)
    assert given.parameters[POSITIONS]["catalog"] == str(path)
    path.write_text("ra,dec\n100.0,-30.1\n")
    again = found.of_stack(item, {}, silent)
    assert again.contents != given.contents


def test_the_users_own_parameter_wins(references, tmp_path):
    mine, other = tmp_path / "mine.csv", tmp_path / "other.csv"
    for path in (mine, other):
        path.write_text(f"ra,dec\n100.0,-30.0{len(path.name)}\n")
    item = hashable(stack("science", "a", 1))
    found = references(item, catalog=str(other), phot_catalog="none")
    given = found.of_stack(item, {POSITIONS: {"catalog": str(mine)}}, silent)
    assert given.parameters[POSITIONS]["catalog"] == str(mine)
    alone = references(item, catalog="none", phot_catalog="none")
    assert alone.of_stack(item, {POSITIONS: {"catalog": str(mine)}}, silent).contents == (given.contents)


def test_science_takes_the_zeropoint_of_the_nearest_standard(references, tmp_path):
    science = hashable(stack("science", "a", 5))
    early, near = (hashable(stack("standard", name, hour)) for name, hour in (("s1", 1), ("s2", 4)))
    found = references(science, early, near, catalog="none", phot_catalog="none")
    assert found.standard_of(science) is near
    assert found.standard_of(near) is None
    given = found.of_stack(science, {}, silent, (tmp_path / "near_image.fits", "its key"))
    assert given.parameters["measureZeropoint"]["standard"].endswith("near_image.fits")
    assert "its key" in given.contents.values()


def test_a_standard_of_more_than_thirty_days_before_lends_no_zeropoint_and_is_named(references):
    """The nearest standard once served however old it was: the store's rule, 30 days, was not asked."""
    science = hashable(stack("science", "a", 5))
    old = hashable(stack("standard", "s1", 5))
    old.groups[0].when -= timedelta(days=31)
    found, said = references(science, old, catalog="none", phot_catalog="none"), []
    assert found.standard_of(science) is None
    found.of_stack(science, {}, said.append)
    assert "s1" in said[0].what and "31.0 days away, at most 30 allowed" in said[0].reason


def test_magnitudes_of_the_archives_records_are_kept_in_the_lock_and_used(references, tmp_path):
    from goafetch.archive.lock import Lock, LockedFile
    from goafetch.archive.query import Criteria
    from reducer.headers.descriptors import Descriptors
    from reducer.references import find_magnitude, read_standards

    star = {"name": "FS 1", "ra": 100.0, "dec": -30.0, "j_mag": 12.5, "h_mag": 12.2, "k_mag": 12.1}
    file = LockedFile("S1.fits", "S1.fits.bz2", "", "a", "b", 1, 1, "", "Pass", "GS-1", "search", (star,))
    Lock("http://archive", Criteria(program="GS-2017A-Q-29"), {file.name: file}).write(
        tmp_path / "goafetch.lock"
    )
    assert Lock.read(tmp_path / "goafetch.lock").files["S1.fits"].standards == (star,)
    item = hashable(stack("standard", "a", 1))
    given = references(item, catalog="none", phot_catalog="none").of_stack(item, {}, silent)
    table = Path(given.parameters["measureZeropoint"]["archive"])
    header = {"INSTRUME": "GSAOI", "FILTER1": "Kshort", "FILTER2": "Clear", "RA": 100.0, "DEC": -30.0}
    found = find_magnitude(read_standards(table), Descriptors(header, ()), False)
    assert found.value == pytest.approx(12.1 + 0.002 + 0.026 * 0.4)
