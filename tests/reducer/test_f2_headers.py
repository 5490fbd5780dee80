"""Real headers of Flamingos-2: tags and descriptors as DRAGONS gives them, and what is put right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from real_headers import HEADERS, real_headers

from reducer import instruments
from reducer.errors import BadInput
from reducer.frame import FrameRef
from reducer.headers.descriptors import Descriptors, describe
from reducer.headers.repairs import repair

REAL = HEADERS / "flamingos2"
pytestmark = pytest.mark.skipif(not REAL.exists(), reason="the real headers are not here")
SCIENCE = "F2 GEMINI IMAGE RAW SIDEREAL SOUTH UNPREPARED"

#: File, tags, filter, lamp, seconds. The old types of 2015 and 2017 have other words; those of 2022 are
#: DRAGONS' own, to which THRUSLIT and LS are added since.
FILES = [
    ("S20150101S0261", SCIENCE, "J", "", 85.0),
    ("S20150103S0144", "CAL DARK F2 GEMINI RAW SIDEREAL SOUTH UNPREPARED", "JH", "", 4.0),
    (
        "S20150113S0186",
        "AT_ZENITH AZEL_TARGET CAL F2 FLAT GCALFLAT GCAL_IR_OFF GEMINI IMAGE LAMPOFF NON_SIDEREAL RAW SOUTH "
        "UNPREPARED",
        "J", "off", 60.0,
    ),
    ("S20170905S0318", SCIENCE, "K-long", "", 3.0),
    (
        "S20220220S0198",
        "CAL F2 FLAT GCALFLAT GCAL_IR_OFF GEMINI IMAGE LAMPOFF RAW SOUTH UNPREPARED", "YJH", "off", 20.0,
    ),
    (
        "S20220912S0299",
        "CAL F2 FLAT GCALFLAT GCAL_IR_ON GEMINI IMAGE LAMPON RAW SOUTH UNPREPARED", "H", "on", 3.0,
    ),
    (
        "S20221020S0034",
        "ACQUISITION F2 GEMINI IMAGE LS RAW SIDEREAL SOUTH THRUSLIT UNPREPARED", "Unknown", "", 20.0,
    ),
    ("S20221115S0124", SCIENCE, "H", "", 8.0),
]  # fmt: skip


def facts_of(name: str) -> Descriptors:
    primary, chip = real_headers(name, REAL)
    return describe(primary, [chip], name)


@pytest.mark.parametrize(("name", "tags", "band", "lamp", "seconds"), FILES, ids=[each[0] for each in FILES])
def test_tags_and_descriptors(name: str, tags: str, band: str, lamp: str, seconds: float) -> None:
    facts = facts_of(name)
    assert sorted(facts.tags) == tags.split()
    assert (facts.filter, facts.exposure_time, facts.coadds) == (band, seconds, 1)
    assert (facts.read_speed_setting, facts.gain, facts.read_noise) == ("1", [4.44], [11.7])
    assert (facts.saturation_level, facts.non_linear_level) == ([35000], [25200])
    assert facts.regions == ((1, 0, 2048, 0, 2048),)
    assert instruments.KNOWN["F2"].lamp(facts.tags, facts.filter) == lamp


def test_offsets_lie_along_the_array_as_dragons_gives_them() -> None:
    facts = facts_of("S20150101S0261")
    scale = facts.pixel_scale
    assert scale == pytest.approx(0.1798, abs=1e-4)
    assert facts.detector_x_offset == pytest.approx(8.65 / scale)
    assert facts.detector_y_offset == pytest.approx(9.88 / scale)
    assert facts.sky_offset == pytest.approx((9.88, 8.65), abs=1e-6)


@pytest.mark.parametrize(("name", "key"), [("S20220912S0299", "CTYPE1"), ("S20221115S0124", "CTYPE2")])
def test_a_question_mark_for_an_axis_is_put_right(name: str, key: str) -> None:
    frame = repair(frame_of(name))
    assert frame.chips[0][key] == ("RA---TAN" if key == "CTYPE1" else "DEC--TAN")
    assert any("question mark" in said for said in frame.repairs)


def test_a_wheel_that_timed_out_is_refused() -> None:
    with pytest.raises(BadInput, match=r"the filter is unknown \(FILTER1 Get Timed Out\?"):
        repair(frame_of("S20221020S0034"))


def frame_of(name: str) -> FrameRef:
    primary, chip = real_headers(name, REAL)
    chip["EXTVER"] = 1
    return FrameRef(Path(f"{name}.fits"), primary, (chip,))


@pytest.mark.parametrize(
    ("cards", "expected"),
    [
        ({"FILTER1": "DK_G0807"}, {"DARK", "CAL"}),
        ({"GRISM": "JH_G5801"}, {"SPECT"}),
        ({"GRISM": "", "GRISMPOS": "JH_G5801"}, {"SPECT"}),
        ({"MOSPOS": "mos.101"}, {"IMAGE", "THRUSLIT", "MOS"}),
        ({"DECKER": "MOS"}, {"IMAGE", "THRUSLIT", "MOS"}),
    ],
)
def test_wheels_tell_darks_spectra_and_masks(cards: dict[str, Any], expected: set[str]) -> None:
    primary, chip = real_headers("S20150101S0261", REAL)
    primary.update(cards)
    found = describe(primary, [chip]).tags & {"DARK", "CAL", "SPECT", "IMAGE", "THRUSLIT", "MOS"}
    assert found == expected
