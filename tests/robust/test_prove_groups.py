"""Nights whose exposures are to be told apart or together, against truth: members, sky levels, light kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from visits import DITHER, START, build, crowd, moving, skies, visit

from goafetch.events import words
from goafetch.pipeline.run import run
from goafetch.pipeline.summary import RunReport
from goafetch.practice.exposure.night import Exposure
from goafetch.practice.exposure.scene import Field, Galaxy
from goafetch.practice.pointings import beside, with_target
from goafetch.practice.program import PROGRAM, SKY_PLACE, TARGET, sky_field

pytestmark = pytest.mark.prove

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
#: Light of some hundred electrons in the windows, which the sky must not take.
GALAXY = Galaxy((35.0, 90.0), 170000.0, 36.7, 1.0)
#: Steps that leave little of the windows' own light in the sky of a dither, and of a visit with skies.
WIDE = tuple((2.6 * east, 2.6 * north) for east, north in DITHER)
SMALL = ((0.0, 0.0), (0.4, 0.0), (0.4, 0.4), (0.0, 0.4))
#: Arcsec east of the target where a second pointing is.
ASIDE = 240.0

Members = set[frozenset[int]]


def reduced(folder: Path, exposures: Sequence[Exposure], fields: dict[str, Field], **given: Any) -> RunReport:
    raw = build(folder / "raw", exposures, fields, noiseless=True)
    return run(raw, into=folder / "ws", workers=1, catalog="none", phot_catalog="none", **given)


def members(done: RunReport) -> Members:
    """The numbers of the exposures in each stack."""
    found = set()
    for path in done.stacks:
        names = fits.getdata(path, "EXPOSURES")["filename"]
        found.add(frozenset(int(str(name).split("_")[0].removesuffix(".fits")[-4:]) for name in names))
    return found


def off_level(done: RunReport, monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """How far each stack's exposures are from the true light, in units of the sigma that it states."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    from truth_image import Truth

    truth = Truth.read(done.workspace.root.parent / "raw_truth")
    found = {}
    for stack in done.stacks:
        header, gaps = fits.getheader(stack), []
        for name in fits.getdata(stack, "EXPOSURES")["filename"]:
            name = str(name).split("_")[0].removesuffix(".fits")
            with fits.open(done.workspace.playground / f"{name}_skyCorrected.fits") as units:
                for array in range(4):
                    good = units["DQ", array + 1].data == 0
                    gap = units["SCI", array + 1].data - truth.brightness(name, array)
                    gaps.append(np.median(gap[good]))
        found[stack.name] = float(np.mean(gaps)) / max(float(header["SKYSIGMA"]), 2.0)
    return found


def decisions(done: RunReport) -> str:
    return " ".join(map(words, done.summary.decisions))


def second(first: int, steps: Sequence[tuple[float, float]] = DITHER, **facts: Any) -> list[Exposure]:
    """Guided exposures of a field beside the target, by offset, eight minutes later."""
    given = {"field": "T2", "base": (ASIDE, 0.0), "begin": START + timedelta(minutes=8)}
    return visit(first, steps, **(given | facts))


def names_typed() -> list[Exposure]:
    ways = ("NGC5128", "NGC 5128", "ngc5128", "NGC 5128")
    return [replace(e, target=way) for e, way in zip(visit(95, SMALL), ways, strict=True)] + skies()


def without_offsets() -> list[Exposure]:
    return [replace(e, trouble=frozenset({"no offsets"})) for e in (*visit(95, SMALL), *skies())]


def short_skies() -> list[Exposure]:
    return [*visit(95, SMALL), *skies(exptime=30.0)]


def named_skies() -> list[Exposure]:
    ra, dec = beside(TARGET, SKY_PLACE)
    own = skies(target="Sky", observation=f"{PROGRAM}-33", ra=ra, dec=dec)
    return [*visit(95, SMALL), *(replace(e, offset=e.place) for e in own)]


@pytest.mark.parametrize("night", [names_typed, without_offsets, short_skies, named_skies])
def test_a_galaxy_is_one_stack_with_its_skies(
    night: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = reduced(tmp_path, night(), {"T": crowd(galaxy=GALAXY)})
    assert members(done) == {frozenset({95, 96, 97, 98})}
    assert "4 on target, 3 off target" in decisions(done)
    assert max(map(abs, off_level(done, monkeypatch).values())) < 3.0
    assert done.exit_code == 0


def test_two_alike_pointings_are_two_stacks_each_with_skies_of_its_own_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"T": crowd(), "T2": crowd(7000, seed=12, name="T2", east=ASIDE)}
    done = reduced(tmp_path, [*visit(95, WIDE), *second(101, WIDE)], fields)
    assert members(done) == {frozenset({95, 96, 97, 98}), frozenset({101, 102, 103, 104})}
    assert [stack.name for stack in done.plan.stacks] == [
        "NGC5128 Kshort 60 s",
        "NGC5128 (240E 0N) Kshort 60 s",
    ]
    assert "a target too" in decisions(done)
    assert max(map(abs, off_level(done, monkeypatch).values())) < 3.0
    assert done.exit_code == 0


def test_two_alike_pointings_take_the_real_skies_and_keep_a_galaxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"T": crowd(galaxy=GALAXY), "T2": crowd(9000, seed=12, name="T2", east=ASIDE)}
    done = reduced(tmp_path, [*visit(95, SMALL), *second(101, SMALL), *skies()], fields)
    assert members(done) == {frozenset({95, 96, 97, 98}), frozenset({101, 102, 103, 104})}
    assert max(map(abs, off_level(done, monkeypatch).values())) < 3.0


def test_a_poor_guided_pointing_is_the_sky_of_the_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poor = sky_field("T2", TARGET, (ASIDE, 0.0), np.random.default_rng(8))
    done = reduced(tmp_path, [*visit(95, SMALL), *second(101)], {"T": crowd(galaxy=GALAXY), "T2": poor})
    assert members(done) == {frozenset({95, 96, 97, 98})}
    assert "empty sky" in decisions(done) and "no stack of these exposures" in decisions(done)
    assert max(map(abs, off_level(done, monkeypatch).values())) < 3.0
    assert done.exit_code == 0
    again = run(tmp_path / "raw", into=tmp_path / "ws", workers=1, catalog="none", phot_catalog="none")
    assert (again.redone, again.exit_code) == (0, 0)


def test_a_second_target_of_one_exposure_is_left_out_by_the_name_of_its_file(tmp_path: Path) -> None:
    fields = {"T": crowd(), "T2": crowd(7000, seed=12, name="T2", east=ASIDE)}
    done = reduced(tmp_path, [*visit(95), *second(101, DITHER[:1])], fields)
    assert members(done) == {frozenset({95, 96, 97, 98})}
    refused = {left.name: left.reason for left in done.summary.exclusions}
    assert len(refused) == len(done.summary.exclusions)  # each is told once
    assert "0 sky exposures" in refused["S20170505S0101.fits"] and "ref_sky" in refused["S20170505S0101.fits"]
    assert done.exit_code == 1


def test_exposures_that_follow_a_target_and_those_that_do_not_are_two_stacks(tmp_path: Path) -> None:
    followed = moving(visit(95), (0.0039, -0.0039))
    fields = with_target(followed, crowd(), (-21.0, 22.0), 15.0, START)
    still = visit(101, begin=START + timedelta(minutes=8), target="COMET")
    done = reduced(tmp_path, [*followed, *still, *skies(target="COMET")], {"T": crowd(), **fields})
    assert members(done) == {frozenset({95, 96, 97, 98}), frozenset({101, 102, 103, 104})}
    assert "by motion" in decisions(done)
    drifts = [fits.getheader(path).get("TRKDRIFT") for path in done.stacks]
    assert sum(bool(drift) for drift in drifts) == 1


@pytest.mark.parametrize(("observation", "stacks"), [("32", 1), ("33", 2)])
def test_two_names_at_one_place_are_joined_in_one_observation_or_told(
    observation: str, stacks: int, tmp_path: Path
) -> None:
    other = second(101, base=(0.0, 0.0), target="Cen A", observation=f"{PROGRAM}-{observation}", field="T")
    done = reduced(tmp_path, [*visit(95), *other], {"T": crowd()})
    assert len(done.stacks) == stacks
    assert any("two names" in warned.text for warned in done.summary.warnings) == (stacks == 2)
    assert ("taken for one target" in decisions(done)) == (stacks == 1)
