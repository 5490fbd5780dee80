"""Calibrations are chosen by uniform sets and the nearest night, and each rejection has its reason."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from calstore.associate import DARK, LAMP_OFF, LAMP_ON, STANDARD
from goafetch.archive.calibration_sets import (
    CalibrationSet,
    ScienceGroup,
    choose_darks,
    choose_flats,
    choose_mask,
    choose_standards,
    make_sets,
)
from goafetch.archive.calibrations import _largest
from goafetch.archive.records import Readout, Record, parse_fullheader, read_record
from reducer import instruments
from reducer.instruments.base import CalibrationRule

CENTRAL = tuple((number, 512, 1536, 512, 1536) for number in range(1, 5))
WHOLE = tuple((number, 0, 2048, 0, 2048) for number in range(1, 5))


@pytest.fixture
def science(tiny_folder: Path) -> Record:
    rows = json.loads((tiny_folder / "holdings.json").read_text())
    return next(read_record(row) for row in rows if row["name"] == "S20170505S0100.fits")


@pytest.fixture
def group(science: Record) -> ScienceGroup:
    return ScienceGroup((science,))


def frames(science: Record, first: int, count: int, *, days: float = 0, **changes: object) -> list[Record]:
    """Records of calibration frames ``days`` before the science."""
    assert science.ut_datetime is not None
    when = science.ut_datetime - timedelta(days=days)
    night = (when + timedelta(hours=6)).strftime("%Y%m%d")
    names = [f"S{night}S{number:04d}.fits" for number in range(first, first + count)]
    usual = {"exposure_time": 15.0, "program_id": "GS-CAL20170504", **changes}
    return [replace(science, name=name, ut_datetime=when, **usual) for name in names]


def sets(kind: str, records: list[Record], **settings: Readout) -> list[CalibrationSet]:
    return make_sets(kind, records, {r.name: settings["all"] for r in records} if settings else {})


def test_the_nearest_night_wins(science: Record, group: ScienceGroup) -> None:
    near_on, far_on = frames(science, 1, 3, days=1), frames(science, 1, 3, days=5)
    near_off, far_off = frames(science, 21, 3, days=1), frames(science, 21, 3, days=5)
    choice = choose_flats(group, sets(LAMP_ON, far_on + near_on), sets(LAMP_OFF, far_off + near_off))
    assert set(choice.taken) == {r.name for r in near_on + near_off}
    assert "1 night apart" in choice.taken[near_on[0].name]
    assert all("nearer" in choice.rejected[r.name] for r in far_on)
    assert set(choice.rejected) == {r.name for r in far_on + far_off}


@pytest.mark.parametrize(
    ("changes", "settings"),
    [
        ({"exposure_time": 20.0}, Readout()),
        ({}, Readout(coadds=4)),
        ({}, Readout(reads="8")),
        ({}, Readout(region=CENTRAL)),
    ],
    ids=["exposure", "coadds", "reads", "region"],
)
def test_lamp_off_must_be_read_as_lamp_on(
    science: Record, group: ScienceGroup, changes: dict[str, object], settings: Readout
) -> None:
    lit = frames(science, 1, 3)
    wrong, right = frames(science, 21, 3, **changes), frames(science, 31, 3, days=2)
    off = make_sets(LAMP_OFF, wrong + right, {r.name: settings for r in wrong})
    choice = choose_flats(group, make_sets(LAMP_ON, lit, {}), off)
    assert set(choice.taken) == {r.name for r in lit + right}
    assert set(choice.rejected) == {r.name for r in wrong}


def test_a_complete_set_is_better_than_a_nearer_one_without_lamp_off(
    science: Record, group: ScienceGroup
) -> None:
    alone, lit = frames(science, 1, 3, exposure_time=5.0), frames(science, 11, 3, days=3)
    dark = frames(science, 21, 3, days=3)
    choice = choose_flats(group, sets(LAMP_ON, alone + lit), sets(LAMP_OFF, dark))
    assert set(choice.taken) == {r.name for r in lit + dark}
    assert all("no lamp-off flats match" in choice.rejected[r.name] for r in alone)


def test_a_missing_lamp_off_is_said(science: Record, group: ScienceGroup) -> None:
    choice = choose_flats(group, sets(LAMP_ON, frames(science, 1, 3)), [])
    assert len(choice.taken) == 3 and "no lamp-off flats match" in choice.warnings[0]
    assert "no lamp-on flats" in choose_flats(group, [], []).warnings[0]


def test_sets_are_not_mixed(science: Record, group: ScienceGroup) -> None:
    mixed = frames(science, 1, 3) + frames(science, 11, 3, exposure_time=20.0)
    dark = frames(science, 21, 3) + frames(science, 31, 3, exposure_time=20.0)
    choice = choose_flats(group, sets(LAMP_ON, mixed), sets(LAMP_OFF, dark))
    times = {r.exposure_time for r in mixed + dark if r.name in choice.taken}
    assert len(choice.taken) == 6 and len(times) == 1


def test_another_filter_never_serves(science: Record, group: ScienceGroup) -> None:
    lit, dark = frames(science, 1, 3, filter_name="H"), frames(science, 21, 3, filter_name="H")
    choice = choose_flats(group, sets(LAMP_ON, lit), sets(LAMP_OFF, dark))
    assert not choice.taken and "filter H, needed Kshort" in choice.rejected[lit[0].name]


def test_a_flats_region_must_hold_the_sciences(science: Record) -> None:
    small, whole = Readout(region=CENTRAL), Readout(region=WHOLE)
    lit, dark = frames(science, 1, 3), frames(science, 21, 3)
    central = sets(LAMP_ON, lit, all=small), sets(LAMP_OFF, dark, all=small)
    assert not choose_flats(ScienceGroup((science,), whole), *central).taken
    full = sets(LAMP_ON, lit, all=whole), sets(LAMP_OFF, dark, all=whole)
    assert len(choose_flats(ScienceGroup((science,), small), *full).taken) == 6


def test_a_region_that_is_not_known_rules_out_no_flat(science: Record) -> None:
    lit, dark = frames(science, 1, 3), frames(science, 21, 3)
    central = Readout(region=CENTRAL)
    sets_of = sets(LAMP_ON, lit, all=central), sets(LAMP_OFF, dark, all=central)
    assert len(choose_flats(ScienceGroup((science,), None), *sets_of).taken) == 6


def test_exposure_of_flats_need_not_be_the_sciences(science: Record, group: ScienceGroup) -> None:
    lit, dark = frames(science, 1, 3, exposure_time=15.0), frames(science, 21, 3, exposure_time=15.0)
    assert science.exposure_time == 60.0
    assert len(choose_flats(group, sets(LAMP_ON, lit), sets(LAMP_OFF, dark)).taken) == 6


def test_all_standards_of_the_nearest_night(science: Record, group: ScienceGroup) -> None:
    one, two = frames(science, 1, 4, object="9132"), frames(science, 11, 4, object="9150")
    old = frames(science, 1, 4, days=2, object="9132")
    choice = choose_standards(group, sets(STANDARD, old + one + two))
    assert set(choice.taken) == {r.name for r in one + two}
    assert all("nearer night" in choice.rejected[r.name] for r in old)


def test_the_latest_mask_that_was_valid(science: Record) -> None:
    masks = [
        replace(science, name=f"bpm_{day}_gsaoi_gsaoi_11_full_4amp.fits", ut_datetime=datetime(2026, 1, 1))
        for day in ("20100101", "20121104", "20180601")
    ]
    choice = choose_mask([science], masks)
    assert list(choice.taken) == [masks[1].name]
    assert "valid from 2018-06-01, after 2017-05-05" in choice.rejected[masks[2].name]
    assert "2012-11-04" in choice.rejected[masks[0].name]


def test_a_mask_of_another_binning_does_not_fit(science: Record) -> None:
    mask = replace(science, name="bpm_20121104_x.fits", detector_binning="2x2")
    choice = choose_mask([replace(science, detector_binning="1x1")], [mask])
    assert not choice.taken and "binning 2x2, needed 1x1" in choice.rejected[mask.name]


def test_a_mask_without_any_date_is_rejected(science: Record) -> None:
    mask = replace(science, name="mask.fits", ut_datetime=None)
    choice = choose_mask([science], [mask])
    assert not choice.taken and "from when it is valid" in choice.rejected["mask.fits"]


def test_settings_come_from_the_headers() -> None:
    page = "\n".join(
        [
            "Filename: S20170505S0030.fits.bz2",
            "AstroData Tags: {'RAW', 'GSAOI'}",
            "--- PHU ---",
            "COADDS  =                    4 / Number of coadds",
            "LNRS    =                    8 / reads",
            "OBJECT  = 'O''Neill / x'       / target",
            *(
                line
                for number in range(4)
                for line in (f"--- HDU {number} ---", "CCDSEC  = '[513:1536,513:1536]' / region")
            ),
        ]
    )
    assert parse_fullheader(page) == Readout(4, "8", CENTRAL)
    assert parse_fullheader("nothing of use") == Readout()


#: A rule for raw darks, as of an instrument that needs them.
DARKS = CalibrationRule(same=("exposure_time", "coadds", "read_mode"), days=90.0, archive="dark")


def test_each_exposure_time_has_its_own_darks_of_any_night_and_filter(
    science: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = instruments.KNOWN["GSAOI"]
    changed = replace(known, calibrations={**known.calibrations, "dark": DARKS})
    monkeypatch.setattr(instruments, "KNOWN", {"GSAOI": changed})
    (short,) = frames(science, 101, 1, exposure_time=5.0)
    lone = replace(science, name="S20170505S0102.fits", exposure_time=7.0)
    group = ScienceGroup((replace(science, exposure_time=60.0), short, lone))
    near = frames(science, 1, 2, days=1, exposure_time=60.0, filter_name="H")
    far, other = (frames(science, n, 2, days=n, exposure_time=60.0) for n in (20, 95))
    quick, slow = frames(science, 31, 2, exposure_time=5.0), frames(science, 41, 2, exposure_time=30.0)
    coadded = frames(science, 51, 2, exposure_time=60.0)
    readouts = {record.name: Readout(coadds=4) for record in coadded}
    choice = choose_darks(group, make_sets(DARK, [*near, *far, *other, *quick, *slow, *coadded], readouts))
    assert set(choice.taken) == {record.name for record in [*near, *far, *quick]}
    assert choice.taken[near[0].name] == "darks: 60 s, 1 night apart"
    assert {record.name for record in [*other, *slow, *coadded]} <= set(choice.rejected)
    assert choice.warnings == [f"no darks of 7 s suit {group.name}"]


def test_the_largest_public_file_stands_for_its_part(science: Record) -> None:
    """Its region holds those of the others; a header that is withheld tells nothing."""
    small, large = (replace(science, name=f"S{1000 - n}.fits", data_size=n) for n in (100, 900))
    hidden = replace(science, name="S9.fits", data_size=9000, release=date(2099, 1, 1))
    assert _largest([small, large, hidden], date(2020, 1, 1)) is large
    assert _largest([small, hidden], date(2100, 1, 1)) is hidden
