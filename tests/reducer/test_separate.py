"""Objects and skies are told apart by pointing and guiding, or as the user says."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from astropy.io.fits import Header
from raw_exposure import SIDE, array_header, primary_header
from told import in_words

from reducer.align.wcs import positions, seconds
from reducer.errors import MissingCalibration
from reducer.frame import Context, FrameRef
from reducer.sky.empty import Objects
from reducer.steps import separate
from reducer.steps.separate import associateSky, separateSky


def frames_at(*places: tuple[float, float], guided: tuple[int, ...] = ()) -> list[FrameRef]:
    frames = []
    for number, (east, north) in enumerate(places):
        cards: dict[str, Any] = {"GWFS1CFG": "CWFS1"} if number in guided else {}
        header = primary_header(minutes=number, RAOFFSET=east, DECOFFSE=north, **cards)
        chips: tuple[Header, ...] = tuple(array_header(array, header) for array in (1, 2, 3, 4))
        frames.append(FrameRef(Path(f"S{number}.fits"), header, chips))
    return frames


def roles(frames: list[FrameRef], **parameters: Any) -> list[str]:
    return [frame.role for frame in separateSky(frames, Context(Path(), {"separateSky": parameters}))]


def test_the_middle_of_an_exposure_is_that_of_all_its_coadds() -> None:
    """Skies are nearest in time by it."""
    frame = frames_at((0, 0))[0]
    frame.header["DATE-OBS"], frame.header["UT"] = "2017-05-05", "03:00:00.0"
    frame.header["EXPTIME"], frame.header["COADDS"] = 20.0, 6
    begin = (dt.datetime(2017, 5, 5, 3) - dt.datetime(1970, 1, 1)).total_seconds()
    assert seconds(frame) - begin == pytest.approx(60.0)


def test_the_pointing_at_the_target_is_the_object() -> None:
    places = [(0, 0), (0.2, 0.4), (-300, 0), (-302, 3)]
    assert roles(frames_at(*places)) == ["object", "object", "sky", "sky"]
    assert roles(frames_at(*places, guided=(2, 3))) == ["sky", "sky", "object", "object"]


def test_half_a_field_away_counts_as_the_field_says() -> None:
    places = [(0, 0), (60, 0), (0, 2)]
    assert roles(frames_at(*places)) == ["both", "both", "both"]
    assert roles(frames_at(*places), frac_FOV=0.5) == ["object", "sky", "object"]


def test_a_dither_without_skies_serves_itself() -> None:
    assert roles(frames_at((0, 0), (4, 0), (4, 4))) == ["both"] * 3


def test_pointings_without_offsets_are_those_of_the_wcs() -> None:
    """A missing offset was taken for none: object and sky were one field."""
    frames = []
    for number, away in enumerate(((0.0, 0.0), (0.2, 0.2), (0.0, 300.0))):
        header = primary_header(minutes=number)
        chips = tuple(array_header(array, header, away=away) for array in (1, 2, 3, 4))
        for chip, array in zip(chips, (1, 2, 3, 4), strict=True):
            chip.update(EXTVER=array, NAXIS1=SIDE, NAXIS2=SIDE)
        for key in ("POFFSET", "QOFFSET", "RAOFFSET", "DECOFFSE"):
            del header[key]
        frames.append(FrameRef(Path(f"S{number}.fits"), header, chips))
    assert roles(frames) == ["object", "object", "sky"]
    assert positions(frames)[1] == pytest.approx([0.0, 0.2, 300.0], abs=0.01)


def test_empty_sky_by_name_is_sky_though_it_is_a_target_of_its_own() -> None:
    frames = frames_at((0, 0), (0.2, 0), (0, 0))
    frames[2].header.update(OBJECT="Sky", DEC=frames[2].header["DEC"] + 300 / 3600)
    assert roles(frames) == ["object", "object", "sky"]


def test_objects_of_another_exposure_time_are_left_out_and_skies_are_not() -> None:
    frames = frames_at((0, 0), (0.2, 0), (0.4, 0), (-300, 0), (-301, 0))
    for number in (2, 3, 4):
        frames[number].header["EXPTIME"] = 30.0
    assert roles(frames) == ["object", "object", "sky", "sky"]


def test_the_user_has_the_last_word() -> None:
    frames = frames_at((0, 0), (0.2, 0), (-300, 0))
    assert roles(frames, ref_sky=("S1", "S2.fits")) == ["object", "sky", "sky"]
    assert roles(frames, ref_obj=("S2.fits",)) == ["sky", "sky", "object"]
    assert roles(frames, ref_sky=("S1", "S7")) == ["object", "sky", "object"]


def test_the_user_names_raw_files_whatever_they_have_become() -> None:
    frames = frames_at((0, 0), (0.2, 0), (-300, 0))
    later = [frame.with_(path=Path(f"{frame.path.stem}_flatCorrected.fits")) for frame in frames]
    assert roles(later, ref_sky=("S1.fits.bz2", "S2")) == ["object", "sky", "sky"]


def test_names_of_another_group_leave_this_one_to_its_pointings() -> None:
    told: list[str] = []
    context = Context(
        Path(), {"separateSky": {"ref_sky": ("S7",)}}, notify=lambda event, **facts: told.append(event)
    )
    found = separateSky(frames_at((0, 0), (0.2, 0), (-300, 0)), context)
    assert [frame.role for frame in found] == ["object", "object", "sky"]
    assert "separated_by_pointing" in told


def test_each_object_gets_the_skies_that_serve_it() -> None:
    frames = separateSky(frames_at((0, 0), (0.2, 0), (-300, 0), (-301, 0)), Context(Path()))
    skies = [frame.skies for frame in associateSky(frames, Context(Path()))]
    assert skies == [("S2.fits", "S3.fits"), ("S2.fits", "S3.fits"), (), ()]
    nearest = {"associateSky": {"max_skies": 1}}
    assert associateSky(frames, Context(Path(), nearest))[0].skies == ("S2.fits",)
    soon = {"associateSky": {"use_all": False, "time": 70.0}}
    assert associateSky(frames, Context(Path(), soon))[1].skies == ("S2.fits",)


def test_a_dither_never_serves_as_its_own_sky() -> None:
    frames = separateSky(frames_at((0, 0), (5, 0), (10, 0)), Context(Path()))
    assert [frame.skies for frame in associateSky(frames, Context(Path()))] == [
        ("S1.fits", "S2.fits"),
        ("S0.fits", "S2.fits"),
        ("S1.fits", "S0.fits"),
    ]


def test_an_exposure_of_nearly_the_same_place_is_no_sky() -> None:
    """Stars would lie on themselves in the pattern: nearer than ``distance`` only what is sky serves."""
    frames = separateSky(frames_at((0, 0), (0.4, 0), (3, 0), (6, 0)), Context(Path()))
    for distance, skies in ((1.0, {"S2.fits", "S3.fits"}), (5.0, {"S3.fits"})):
        context = Context(Path(), {"associateSky": {"distance": distance, "min_skies": 1}})
        assert set(associateSky(frames, context)[0].skies) == skies


def test_a_single_frame_is_told_what_is_missing() -> None:
    frames = separateSky(frames_at((0, 0)), Context(Path()))
    with pytest.raises(MissingCalibration, match=r"S0\.fits has 0 sky exposures"):
        associateSky(frames, Context(Path()))


# --- several guided pointings ------------------------------------------------------------------------

TWO = [(0, 0), (5, 0), (0, 5), (0, 240), (5, 240), (0, 245)]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, Objects]:
    """What the target's pointing ('here') and the others ('there') show, instead of what pixels do."""
    shown = {"here": Objects(40, 0.02), "there": Objects(30, 0.02)}
    monkeypatch.setattr(separate, "objects_of_both", lambda *_: (shown["here"], shown["there"]))
    return shown


def told_roles(frames: list[FrameRef]) -> tuple[list[str], str]:
    told: list[str] = []
    context = Context(Path(), notify=lambda event, **facts: told.append(in_words(event, **facts)))
    return [frame.role for frame in separateSky(frames, context)], told[0]


def test_a_guided_pointing_that_is_poor_in_objects_is_sky(counted: dict[str, Objects]) -> None:
    """Guided or not, what lay further from the target was sky: a second target was subtracted as such."""
    counted["there"] = Objects(1, 0.001)
    found, reason = told_roles(frames_at(*TWO, guided=tuple(range(6))))
    assert found == ["object"] * 3 + ["sky"] * 3
    assert "S3 is empty sky: 1 object on" in reason and "40 on" in reason


def test_guided_pointings_that_are_alike_are_both_targets(counted: dict[str, Objects]) -> None:
    found, reason = told_roles(frames_at(*TWO, guided=tuple(range(6))))
    assert found == ["both"] * 6
    assert "on a target too" in reason


def test_a_target_poorer_than_what_is_beside_it_is_still_the_target(counted: dict[str, Objects]) -> None:
    counted["here"] = Objects(1, 0.001)
    assert told_roles(frames_at(*TWO, guided=tuple(range(6))))[0] == ["both"] * 6


def test_alike_pointings_take_real_skies_where_there_are_some(counted: dict[str, Objects]) -> None:
    frames = frames_at(*TWO, (300, 0), guided=tuple(range(6)))
    found = separateSky(frames, Context(Path()))
    assert [frame.role for frame in found] == ["object"] * 6 + ["sky"]
    assert {frame.skies for frame in associateSky(found, Context(Path()))} == {("S6.fits",), ()}


def test_alike_pointings_are_each_the_sky_of_their_own(counted: dict[str, Objects]) -> None:
    found = separateSky(frames_at(*TWO, guided=tuple(range(6))), Context(Path()))
    skies = [set(frame.skies) for frame in associateSky(found, Context(Path()))]
    for place, served in enumerate(skies):
        own = range(3) if place < 3 else range(3, 6)
        assert served == {f"S{number}.fits" for number in own if number != place}


def test_a_pointing_of_one_exposure_has_no_sky_and_is_left_out_by_name(counted: dict[str, Objects]) -> None:
    told: list[str] = []
    context = Context(Path(), notify=lambda event, **facts: told.append(in_words(event, **facts)))
    found = separateSky(frames_at(*TWO[:4], guided=tuple(range(4))), context)
    assert [frame.path.name for frame in associateSky(found, context)] == ["S0.fits", "S1.fits", "S2.fits"]
    assert any("left out S3.fits: 0 sky exposures" in text for text in told)


def test_a_second_pointing_is_sky_where_the_user_says_so(counted: dict[str, Objects]) -> None:
    frames = frames_at(*TWO, guided=tuple(range(6)))
    assert roles(frames, ref_sky=("S3", "S4", "S5")) == ["object"] * 3 + ["sky"] * 3
