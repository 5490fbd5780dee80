"""The main job over a real socket: from a program ID to stacks, and what is redone when something changes."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from caged import run_here
from told import Told

from goafetch.errors import ArchiveError, NothingFound, UsageError
from goafetch.events import Decided, Warned, words
from goafetch.pipeline.run import run
from goafetch.pipeline.summary import RunReport
from goafetch.practice.archive import prepare
from goafetch.practice.server import serve
from goafetch.report.compare_page import pair_stacks
from goafetch.report.same_sky import match_stars
from goafetch.report.stack_file import read_stack

#: Lamp on, lamp off, the standard, four exposures on the target and six off it, and the mask.
FEW = {f"S20170505S{n:04d}.fits" for n in (30, 31, 32, 60, 61, 62, *range(95, 99), *range(104, 110))}
FEW |= {f"S20170504S{n:04d}.fits" for n in range(114, 118)} | {"bpm_20121104_gsaoi_gsaoi_11_full_4amp.fits"}
PROGRAM, DATES = "GS-2017A-Q-29", "20170504-20170505"


@pytest.fixture(scope="module")
def archive() -> Iterator[str]:
    with serve(prepare()) as practice:
        practice.holdings[:] = [holding for holding in practice.holdings if holding.name in FEW]
        yield practice.url


@pytest.fixture(scope="module")
def told() -> Told:
    return Told()


@pytest.fixture(scope="module")
def first(archive: str, told: Told, tmp_path_factory: pytest.TempPathFactory) -> RunReport:
    return run(
        PROGRAM, date=DATES, archive=archive, into=tmp_path_factory.mktemp("space") / "ws", notify=told
    )


Again = Callable[..., RunReport]


@pytest.fixture
def again(first: RunReport, archive: str) -> Again:
    def repeat(**changes: Any) -> RunReport:
        return run_here(PROGRAM, date=DATES, archive=archive, into=first.workspace.root, **changes)

    return repeat


def test_the_report_shows_what_the_sky_step_subtracted(first: RunReport, tmp_path: Path) -> None:
    """An exposure made again of its raw counts is the product and its sky; none without a raw file."""
    from goafetch.report.figures import list_skies
    from goafetch.report.run_summary import read_summary
    from goafetch.report.sky_step import read_subtraction, show_sky_step, skies_of

    root = first.workspace.root
    summary = read_summary(root)
    stack = next(product.stack for product in summary.products if product.kind == "on target")
    paths, _ = list_skies(root, summary, stack)
    for path in paths:
        one = read_subtraction(root, summary, path, 64, {})
        for array, sky in skies_of(one).items():
            level = fits.getheader(path, ("SCI", array))["SKYLEVEL"]
            assert np.nanmedian(sky) == pytest.approx(level, abs=0.01 * level)
            assert np.nanstd(sky) < 0.2 * level
        assert len(one.after) == 4 == len(skies_of(one))
    (lost,) = show_sky_step(tmp_path, summary, paths[:1])
    assert set(lost.pictures) == {"after", "residual"}
    page = (root / "report/index.html").read_text()
    assert page.count('class="state sky"') == len(paths) > 0


def test_the_report_shows_what_a_flat_leaves_and_that_it_is_noise(first: RunReport, tmp_path: Path) -> None:
    """A flat of another response leaves more than the photon noise of an exposure, and says so."""
    from goafetch.report.flat_step import show_flat_step
    from goafetch.report.run_summary import read_summary

    root = first.workspace.root
    flat = root / "playground/S20170505S0030_flat.fits"
    good = show_flat_step(root, read_summary(root), flat, "flat Kshort 15 s")
    assert good is not None and set(good.pictures) == {"lamp on", "lamp off", "flat", "residual"}
    assert float(good.told.split()[1]) == pytest.approx(1.0, abs=0.25)
    with fits.open(flat) as file:
        for array in (1, 2, 3, 4):
            file["SCI", array].data *= np.linspace(0.97, 1.03, 512, dtype=np.float32)
        file.writeto(tmp_path / flat.name)
    bad = show_flat_step(root, read_summary(root), tmp_path / flat.name, "flat Kshort 15 s")
    assert bad is not None and float(bad.told.split()[1]) > 5.0
    assert show_flat_step(root, read_summary(root), flat, "another group") is None


def test_what_a_flat_leaves_is_said_of_spoilt_lamps_too(first: RunReport, tmp_path: Path) -> None:
    """An array without data, or not in a raw file, is none; a lamp that was left out tells nothing."""
    from goafetch.report.flat_step import show_flat_step
    from goafetch.report.run_summary import Exclusion, read_summary

    root, group = first.workspace.root, "flat Kshort 15 s"
    summary = read_summary(root)
    with fits.open(root / "playground/S20170505S0030_flat.fits") as file:
        file["DQ", 2].data[:] = 16
        file.writeto(tmp_path / "lost_flat.fits")
        file[0].header["DARKIM"] = "some_dark.fits"
        file.writeto(tmp_path / "dark_flat.fits")
    told = show_flat_step(root, summary, tmp_path / "lost_flat.fits", group)
    assert told is not None and float(told.told.split()[1]) == pytest.approx(1.0, abs=0.25)
    assert show_flat_step(root, summary, tmp_path / "dark_flat.fits", group) is None
    dark_lamp = replace(summary, exclusions=(Exclusion("S20170505S0030.fits", "no light"),))
    told = show_flat_step(root, dark_lamp, tmp_path / "lost_flat.fits", group)
    assert told is not None and told.name == "S20170505S0031 less S20170505S0060"
    (tmp_path / "playdata").mkdir()
    for name in ("S20170505S0030.fits", "S20170505S0060.fits"):
        with fits.open(root / "playdata" / name) as file:
            some = fits.HDUList([unit for number, unit in enumerate(file) if number != 3])
            some.writeto(tmp_path / "playdata" / name)
    told = show_flat_step(tmp_path, summary, root / "playground/S20170505S0030_flat.fits", group)
    assert told is not None and float(told.told.split()[1]) == pytest.approx(1.0, abs=0.25)


def stamps(root: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (root / "playground").glob("*.fits")}


def changed(before: dict[str, int], root: Path) -> set[str]:
    after = stamps(root)
    return {name for name in after if before.get(name) != after[name]}


def test_files_come_by_program_by_association_and_by_type(first: RunReport, told: Told) -> None:
    assert first.exit_code == 0
    assert {path.name for path in first.workspace.playdata.iterdir()} == FEW
    said = " ".join(map(words, told.of(Decided)))
    assert "10 files in the archive" in said


def test_what_was_made_before_its_turn_took_its_time(first: RunReport) -> None:
    """A flat that was made while files came had taken 0.0 s."""
    (flat,) = (outcome for outcome in first.outcomes if outcome.kind == "flat")
    assert flat.seconds > 0.2
    assert all(0.0 <= outcome.seconds < 600.0 for outcome in first.outcomes)


def test_products_are_those_of_the_tutorial(first: RunReport) -> None:
    playground = first.workspace.playground
    kinds = Counter(path.stem.split("_")[-1] for path in playground.glob("*.fits"))
    assert kinds == {"flat": 1, "skyCorrected": 4 + 4, "flatCorrected": 6, "image": 2}
    assert (playground / "calibrations/processed_flat/S20170505S0030_flat.fits").exists()
    assert (playground / "S20170505S0095_image.fits").exists()
    assert (playground / "calibrations/calstore.json").exists()
    assert (playground / "reduce.log").stat().st_size > 0
    assert first.report is not None
    assert first.report.read_text().startswith("<!doctype html")


def test_exactly_the_three_wrong_pointings_are_repaired(first: RunReport, told: Told) -> None:
    said = {
        number
        for event in (*told.of(Decided), *told.of(Warned))
        for number in ("0105", "0108", "0109")
        if "WCS" in words(event) and number in words(event)
    }
    assert said == {"0105", "0108", "0109"}
    wrong = [event for event in told if "WCS" in words(event) and "S20170505S0095" in words(event)]
    assert wrong == []


def test_the_summary_accounts_for_every_file(first: RunReport) -> None:
    summary = json.loads((first.workspace.playground / "run.json").read_text())
    roles = Counter(exposure["role"] for exposure in summary["exposures"])
    assert roles["on target"] == 4
    assert roles["off target"] == 6
    assert sum(roles.values()) + len(summary["exclusions"]) == len(FEW) - 1  # the mask serves all


def test_a_second_run_does_nothing_and_says_so(first: RunReport, again: Again) -> None:
    before = stamps(first.workspace.root)
    report = again()
    assert report.redone == 0
    assert "nothing to do" in report.conclusion()
    assert changed(before, first.workspace.root) == set()


def test_a_product_that_was_deleted_and_one_that_is_damaged_are_remade_alone(
    first: RunReport, again: Again
) -> None:
    before = stamps(first.workspace.root)
    (first.workspace.playground / "S20170505S0097_skyCorrected.fits").unlink()
    product = first.workspace.playground / "S20170505S0098_skyCorrected.fits"
    content = bytearray(product.read_bytes())
    content[len(content) // 2] ^= 1
    product.write_bytes(content)
    again()
    assert changed(before, first.workspace.root) == {"S20170505S0097_skyCorrected.fits", product.name}
    assert again().redone == 0


@pytest.mark.parametrize(
    "name",
    [
        "S20170505S0096_skyCorrected.fits",
        pytest.param("S20170504S0117_skyCorrected.fits", marks=pytest.mark.prove),
    ],
)
def test_a_product_that_is_made_again_alone_is_the_same_to_the_bit(
    first: RunReport, again: Again, name: str
) -> None:
    """Of the standard each exposure shows a field of its own; all are skies of one pattern."""
    product = first.workspace.playground / name
    before = planes(product)
    told = fits.getval(product, "SKYSIGMA")
    product.unlink()
    again()
    assert fits.getval(product, "SKYSIGMA") == told
    after = planes(product)
    assert before.keys() == after.keys()
    for place, plane in before.items():
        np.testing.assert_array_equal(after[place], plane, str(place))


def planes(product: Path) -> dict[tuple[str, int], Any]:
    """Data, variance and mask of each array."""
    with fits.open(product, memmap=False) as units:
        return {(u.name, u.ver): u.data for u in units if u.name in ("SCI", "VAR", "DQ")}


@pytest.fixture
def copy(first: RunReport, tmp_path: Path) -> Path:
    """The workspace, and its raw files apart from it in ``raw``."""
    root = shutil.copytree(first.workspace.root, tmp_path / "ws")
    (root / "playdata").rename(tmp_path / "raw")
    return root


def test_changing_a_parameter_of_the_stack_remakes_the_stacks_alone(copy: Path) -> None:
    """The copy of a workspace is as good as itself, and raw files may come by links."""
    before = stamps(copy)
    report = run_here(copy.parent / "raw", into=copy, parameters=["stackFrames:hsigma=6"])
    assert {path.name for path in report.stacks} == {"S20170505S0095_image.fits", "S20170504S0114_image.fits"}
    assert changed(before, copy) == {path.name for path in report.stacks}


def test_changing_one_raw_byte_remakes_what_depends_on_it_and_nothing_else(copy: Path) -> None:
    before = stamps(copy)
    star = copy.parent / "raw/S20170504S0115.fits"
    content = bytearray(star.read_bytes())
    content[-4000] ^= 1
    star.write_bytes(content)
    report = run_here(copy.parent / "raw", into=copy)
    assert changed(before, copy) == {
        *(f"S20170504S{number:04d}_skyCorrected.fits" for number in range(114, 118)),
        "S20170504S0114_image.fits",
        "S20170505S0095_image.fits",  # its zeropoint is the standard's
    }
    assert (copy / "playdata/S20170504S0115.fits").is_symlink() and report.exit_code == 0


def test_a_changed_file_in_playdata_is_fetched_again(first: RunReport, again: Again) -> None:
    before = stamps(first.workspace.root)
    raw = first.workspace.playdata / "S20170505S0096.fits"
    whole = raw.read_bytes()
    raw.write_bytes(whole[:-2880] + b"x" * 2880)
    again()
    assert raw.read_bytes() == whole
    assert changed(before, first.workspace.root) == set()


def test_a_rehearsal_touches_nothing(first: RunReport, tmp_path: Path) -> None:
    report = run_here(first.workspace.playdata, into=tmp_path / "space", dry_run=True)
    assert [len(group.frames) for group in report.plan.groups()] == [6, 4, 10]
    assert not (tmp_path / "space").exists()


def test_a_program_that_the_archive_does_not_have_is_said(archive: str, tmp_path: Path) -> None:
    with pytest.raises(NothingFound, match="GS-2017A-Q-92") as caught:
        run("GS-2017A-Q-92", archive=archive, into=tmp_path / "ws")
    assert caught.value.exit_code == 3
    assert not (tmp_path / "ws").exists(), "a folder without a file of the archive was left"


def test_an_archive_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError) as caught:
        run(PROGRAM, archive="http://127.0.0.1:9", into=tmp_path / "ws")
    assert caught.value.exit_code == 4


def test_a_named_run_shares_what_is_the_same_and_keeps_the_rest_apart(first: RunReport, archive: str) -> None:
    """Only its stacks are made of another parameter; all else are second names of the same files."""
    root, before = first.workspace.root, stamps(first.workspace.root)
    reference = root / "playground/S20170505S0095_image.fits"
    parameters = ["stackFrames:hsigma=6", f"resampleToCommonFrame:reference={reference}"]
    chosen: dict[str, Any] = {"into": root, "name": "wide", "parameters": parameters}
    other = run_here(PROGRAM, date=DATES, archive=archive, **chosen)
    assert other.exit_code == 0 and other.workspace.root == root / "wide"
    assert stamps(root) == before
    for product in (root / "playground").glob("*.fits"):
        there = root / "wide/playground" / product.name
        assert there.exists() and there.samefile(product) == (not product.name.endswith("_image.fits"))
    assert all(one.name == another.name for one, another in pair_stacks(root, root / "wide"))
    one, another = read_stack(reference), read_stack(root / "wide/playground" / reference.name)
    assert one.shape == another.shape and one.world() == pytest.approx(another.world(), rel=1e-12)
    assert np.abs(np.median(match_stars(one, another).away, axis=0)).max() < 1.0  # mas
    made = stamps(root / "wide")
    assert run_here(PROGRAM, date=DATES, archive=archive, **chosen).exit_code == 0
    assert stamps(root / "wide") == made
    assert (root / "wide/report/index.html").is_file()
    with pytest.raises(UsageError, match="there is no file"):
        run(PROGRAM, into=root, parameters=["resampleToCommonFrame:reference=nothing.fits"])
    for name in ("playdata", "../wide", "a b"):
        with pytest.raises(UsageError, match="cannot be the name"):
            run(PROGRAM, into=root, name=name)
