"""A night of an instrument that needs darks: which are taken, what is left out, and the stack's level."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from caged import Here
from paper import GLOW, GLOWING, SCALE, STACK_SCALE
from paper_night import DITHERS, EVEN, IN_DOME, SKY, UNEVEN, sky_and_stars, take
from shell import Shell

from calstore.associate import PROCESSED_DARK
from calstore.store import CalStore
from goafetch.api.reduce import Task, reduce_files
from goafetch.config import Settings
from goafetch.events import words
from goafetch.pipeline.run import Request, run_job, survey
from goafetch.plan.decide import make_plan
from goafetch.plan.plan import Plan
from goafetch.plan.sort import Wanted
from reducer import instruments
from reducer.fitsio import Disk, open_frame, read_chip

SECONDS = 60.0
DARK, LAMP = {"OBSTYPE": "DARK", "OBJECT": "Dark"}, IN_DOME["EXPTIME"]


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instruments, "KNOWN", {**instruments.KNOWN, "GLOWING": GLOWING})


def expose(folder: Path, number: int, light: np.ndarray, seconds: float = SECONDS, **cards: Any) -> Path:
    cards = {"INSTRUME": "GLOWING"} | cards | {"EXPTIME": seconds}
    return take(folder, number, light, GLOW * seconds, **cards)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Flats with lamp-off frames, a dithered field of 60 s, and darks of 30 s."""
    folder = tmp_path / "raw"
    folder.mkdir()
    for n in (1, 2, 3):
        expose(folder, n, 22000 * EVEN, LAMP, OBJECT="Domeflat", **IN_DOME)
    for n in (4, 5, 6):
        expose(folder, n, 2000 * EVEN, LAMP, OBJECT="Domeflat OFF", **IN_DOME)
    for n, (east, north) in enumerate(DITHERS, 11):
        expose(folder, n, sky_and_stars(east, north), RAOFFSET=east, DECOFFSE=north)
    for n in (31, 32):
        expose(folder, n, 0 * EVEN, 30.0, **DARK)
    return folder


def darks(folder: Path, first: int = 41, seconds: float = SECONDS, **cards: Any) -> list[str]:
    return [expose(folder, n, 0 * EVEN, seconds, **DARK, **cards).name for n in range(first, first + 5)]


def planned(folder: Path, **wanted: Any) -> Plan:
    return make_plan(survey(sorted(folder.glob("*.fits")))[0], Path("playground"), Wanted(**wanted))


def left_out(plan: Plan) -> dict[str, str]:
    return {left.path.name: left.reason for left in plan.left_out if left.failed}


def test_a_night_is_reduced_with_its_dark_which_is_kept_in_the_store(raw: Path, tmp_path: Path) -> None:
    darks(raw)
    request = Request(str(raw), into=tmp_path / "work", catalog="none", phot_catalog="none")
    report = run_job(request, Settings(), pool=Here())
    assert report.exit_code == 0
    assert run_job(request, Settings(), pool=Here()).redone == 0
    kept = CalStore(tmp_path / "work/playground/calibrations/calstore.json").all()
    masters = ["P20170505S0041_dark.fits", "P20170505S0001_flat.fits"]
    assert sorted((c.kind, c.name) for c in kept) == [
        ("processed_dark", masters[0]), ("processed_flat", masters[1]),
    ]  # fmt: skip
    history, origin = (Disk().read_table(report.stacks[0], name) for name in ("HISTORY", "PROVENANCE"))
    assert history is not None and "darkCorrect" in history["primitive"]
    assert origin is not None and set(masters) <= set(origin["filename"])
    assert open_frame(report.stacks[0]).header["DARKIM"] == masters[0]


def test_the_level_of_a_stack_is_right_with_the_dark_and_wrong_without(raw: Path, tmp_path: Path) -> None:
    """Of exposures whose sky is left in them, from raw frames on."""
    numbers = {"dark": range(41, 46), "flat": range(1, 7), "science": range(11, 15)}
    darks(raw)
    files = {what: [raw / f"P20170505S{n:04d}.fits" for n in found] for what, found in numbers.items()}
    for what in ("dark", "flat"):
        reduce_files(Task(files[what], folder=tmp_path, workers=1))

    def level(*chosen: tuple[str, Any]) -> float:
        """Electrons of a pixel of the exposures, the median of the stack."""
        parameters = [("skyCorrect:skip_primitive", True), *chosen]
        task = Task(files["science"], "reduce", parameters, folder=tmp_path, workers=1)
        image = read_chip(open_frame(reduce_files(task)[-1]), 0).data
        return float(np.nanmedian(image)) / (STACK_SCALE / SCALE) ** 2

    glow = SECONDS * float(np.median(GLOW))
    right = level()
    assert right == pytest.approx(SKY * np.median(UNEVEN), abs=0.2 * glow)
    assert level(("darkCorrect:do_cal", "skip")) - right == pytest.approx(glow, rel=0.2)


def test_the_dark_of_the_same_exposure_time_is_taken_and_told_and_others_are_spare(raw: Path) -> None:
    names = darks(raw)
    plan = planned(raw)
    (visit,) = plan.visits
    assert visit.dark == Path("playground/P20170505S0041_dark.fits")
    told = [words(reason) for reason in visit.reasons]
    assert any(
        "same exposure time, same coadds, same read mode, covers the frame, within 2 days" in t for t in told
    )
    assert any("not P20170505S0031_dark.fits: exposure time 30.0 s, needed 60.0 s" in t for t in told)
    assert [[path.name for path in dark.frames] for dark in plan.darks] == [names]
    assert [flat.dark for flat in plan.flats] == [None], "its lamp-off frames take the glow off"
    spare = {left.path.name: left.reason for left in plan.left_out}
    assert spare["P20170505S0031.fits"] == "no frame needs this dark"
    assert [row["dark"] for row in plan.table() if row["kind"] == "science"] == ["P20170505S0041_dark.fits"]


def test_science_without_a_dark_is_left_out_with_what_was_found_and_needed(raw: Path) -> None:
    lost = left_out(planned(raw))
    assert list(lost) == [f"P20170505S{n:04d}.fits" for n in (11, 12, 13, 14)]
    assert lost["P20170505S0011.fits"] == (
        "no processed_dark for Field Y 60 s (Y): none of 1 fits (P20170505S0031_dark.fits: exposure time "
        "30.0 s, needed 60.0 s); fetch darks of 60 s within 2 days, or set darkCorrect:do_cal=skip"
    )
    assert "no processed_dark for Field Y 60 s" in Shell()(f"plan {raw}").err


def test_darks_that_are_skipped_or_given_are_not_sought(raw: Path) -> None:
    (skipped,) = planned(raw, without=frozenset({PROCESSED_DARK})).visits
    assert skipped.dark is None
    (given,) = planned(raw, given={PROCESSED_DARK: Path("my_dark.fits")}).visits
    assert given.dark == Path("my_dark.fits")
    chosen = {"darkCorrect": {"do_cal": "skip"}}, {"darkCorrect": {"dark": "my_dark.fits"}}
    wanted = [Request(str(raw), parameters=each).wanted for each in chosen]
    assert [set(w.without) for w in wanted] == [{PROCESSED_DARK}, set()]
    assert [dict(w.given) for w in wanted] == [{}, {PROCESSED_DARK: Path("my_dark.fits").absolute()}]


def test_darks_are_one_set_as_long_as_they_serve(raw: Path) -> None:
    darks(raw, 41), darks(raw, 51, **{"DATE-OBS": "2017-05-06", "FILTER": "blank"})
    darks(raw, 61, **{"DATE-OBS": "2017-05-09"})
    plan = planned(raw)
    assert [len(dark.frames) for dark in plan.darks] == [10]
    assert plan.visits[0].dark == Path("playground/P20170505S0041_dark.fits")


def test_lamp_on_frames_alone_need_a_dark_of_theirs(raw: Path) -> None:
    darks(raw)
    for n in (4, 5, 6):
        (raw / f"P20170505S{n:04d}.fits").unlink()
    lost = left_out(planned(raw))
    assert "fetch darks of 15 s within 2 days, or add lamp-off frames" in lost["P20170505S0001.fits"]
    darks(raw, 51, LAMP)
    plan = planned(raw)
    assert [flat.dark for flat in plan.flats] == [Path("playground/P20170505S0051_dark.fits")]
    assert len(plan.darks) == 2 and not left_out(plan)


def test_skies_of_another_exposure_time_do_not_serve_where_no_dark_fits_both(raw: Path) -> None:
    darks(raw)
    expose(raw, 15, SKY * EVEN, 40.0, OBJECT="Sky", RAOFFSET=300.0)
    plan = planned(raw)
    assert len(plan.visits) == 1
    spare = {left.path.name: left.reason for left in plan.left_out}
    assert spare["P20170505S0015.fits"] == "blank sky: Y 40 s, the target Y 60 s: no dark fits both"


def test_a_dark_that_was_added_serves_what_has_none(raw: Path, tmp_path: Path, monkeypatch: Any) -> None:
    names = darks(raw)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "darks.lis").write_text("".join(f"raw/{name}\n" for name in names))
    goafetch = Shell()
    assert goafetch("reduce @darks.lis --workers 1").code == 0
    assert goafetch("caldb remove P20170505S0041_dark.fits").code == 0
    assert goafetch("caldb add P20170505S0041_dark.fits").code == 0
    match = goafetch("caldb match raw/P20170505S0011.fits --json").json["candidates"]
    assert [(m["kind"], m["fits"]) for m in match][:1] == [("processed_dark", True)]
    stored = CalStore(tmp_path / "calibrations/calstore.json").all()
    facts = [each for each in survey(sorted(raw.glob("*.fits")))[0] if each[0].name not in names]
    (visit,) = make_plan(facts, Path("playground"), None, stored).visits
    assert visit.dark is not None and visit.dark.name == "P20170505S0041_dark.fits"
