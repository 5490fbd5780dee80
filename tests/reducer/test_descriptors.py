"""Descriptors of a real frame's headers, and of headers as untidy as the archive's."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits

from reducer.headers.descriptors import MEANINGS, Descriptors, describe

ARRAYS = ("H2RG-032-074", "H2RG-032-064", "H2RG-032-071", "H2RG-032-061")
DETSEC = ("[2049:4096,1:2048]", "[1:2048,1:2048]", "[1:2048,2049:4096]", "[2049:4096,2049:4096]")

#: S20150110S0142, a public science frame of the LMC.
REAL = {
    "INSTRUME": "GSAOI", "TELESCOP": "Gemini-South", "OBSERVAT": "Gemini-South", "DETECTOR": "GSAOI",
    "OBJECT": "LMC FIELD 2", "OBSTYPE": "OBJECT", "OBSCLASS": "science", "OBSID": "GS-2014B-LP-2-68",
    "GEMPRGID": "GS-2014B-LP-2", "DATALAB": "GS-2014B-LP-2-68-005", "FILTER1": "Kprime_G1104",
    "FILTER2": "Clear", "EXPTIME": 30.0, "COADDS": 1, "LNRS": 2, "READMODE": "FOWLER", "WAVELENG": 21200.0,
    "AIRMASS": 1.299, "CRPA": 71.0569542730134, "RA": 80.45476667, "DEC": -69.49993333, "AOFOLD": "IN",
    "DATE-OBS": "2015-01-10", "UT": "02:02:14.0", "LT": "23:02:13.0", "MJD-OBS": 0.0, "GWFS1CFG": "ODGW1",
    "RAWPIREQ": "YES", "RAWGEMQA": "USABLE", "RAWIQ": "85-percentile", "RAWCC": "50-percentile",
    "RAWWV": "Any", "RAWBG": "50-percentile", "REQIQ": "85-percentile", "XOFFSET": 0.0, "YOFFSET": 0.0,
    "POFFSET": 1.0, "QOFFSET": -2.0, "INPORT": 1,
}  # fmt: skip


def headers(**changes: Any) -> tuple[fits.Header, list[fits.Header]]:
    primary = fits.Header()
    primary.update({key: value for key, value in (REAL | changes).items() if value is not None})
    chips = []
    for array, section in zip(ARRAYS, DETSEC, strict=True):
        chip = fits.Header()
        chip.update(
            {"XTENSION": "IMAGE", "NAXIS1": 2048, "NAXIS2": 2048, "ARRAYID": array, "DETSEC": section}
        )
        chip.update({"CCDSEC": "[1:2048,1:2048]", "DATASEC": "[1:2048,1:2048]"})
        chip.update({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 80.4524176022188})
        chip.update({"CRVAL2": -69.5047344086805, "CD1_1": 5.4599e-6, "CD1_2": 0.0})
        chip.update({"CD2_1": 0.0, "CD2_2": 5.4599e-6})
        chips.append(chip)
    return primary, chips


def described(**changes: Any) -> Descriptors:
    return describe(*headers(**changes))


@pytest.mark.parametrize(
    ("name", "value"),
    {
        "airmass": 1.299,
        "array_name": list(ARRAYS),
        "array_section": [(0, 2048, 0, 2048)] * 4,
        "detector_section": [
            (2048, 4096, 0, 2048),
            (0, 2048, 0, 2048),
            (0, 2048, 2048, 4096),
            (2048, 4096, 2048, 4096),
        ],
        "camera": "GSAOI",
        "cass_rotator_pa": 71.0569542730134,
        "central_wavelength": 2.12e-06,
        "coadds": 1,
        "data_label": "GS-2014B-LP-2-68-005",
        "dec": -69.5047344086805,
        "ra": 80.4524176022188,
        "target_ra": 80.45476667,
        "target_dec": -69.49993333,
        "detector_name": "GSAOI",
        "exposure_time": 30.0,
        "filter_name": "Kprime_G1104&Clear",
        "gain": [2.434, 2.01, 2.411, 2.644],
        "is_ao": True,
        "is_coadds_summed": False,
        "local_time": dt.time(23, 2, 13),
        "non_linear_level": [38252, 32160, 40812, 39225],
        "saturation_level": [52400, 50250, 53700, 52300],
        "read_noise": [26.53, 19.1, 27.24, 32.26],
        "read_mode": "FOWLER",
        "read_speed_setting": "Bright Objects",
        "object": "LMC FIELD 2",
        "observation_class": "science",
        "observation_id": "GS-2014B-LP-2-68",
        "observation_type": "OBJECT",
        "program_id": "GS-2014B-LP-2",
        "qa_state": "Pass",
        "raw_iq": 85,
        "raw_cc": 50,
        "raw_wv": 100,
        "raw_bg": 50,
        "requested_iq": 85,
        "telescope": "Gemini-South",
        "ut_datetime": dt.datetime(2015, 1, 10, 2, 2, 14),
        "ut_date": dt.date(2015, 1, 10),
        "ut_time": dt.time(2, 2, 14),
        "wavefront_sensor": "GEMS",
        "wavelength_band": "K",
        "telescope_x_offset": 0.0,
        "telescope_y_offset": 0.0,
        "group_id": f"GS-2014B-LP-2-68_Kprime_30.0_FOWLER_{list(DETSEC)}",
        "regions": tuple((number, 0, 2048, 0, 2048) for number in (1, 2, 3, 4)),
        "filter": "Kprime",
    }.items(),
)
def test_a_real_frame_has_the_values_that_gemini_users_know(name: str, value: object) -> None:
    assert getattr(described(), name) == value


def test_scales_and_zeropoints_of_a_real_frame() -> None:
    frame = described()
    assert frame.pixel_scale == pytest.approx(0.0196558, abs=2e-6)
    assert frame.nominal_photometric_zeropoint == pytest.approx(
        [25.4532, 25.7470, 25.4165, 25.3543], abs=1e-4
    )
    assert frame.detector_x_offset == pytest.approx(-1 / 0.0196556, rel=1e-4)
    assert frame.detector_y_offset == pytest.approx(2 / 0.0196556, rel=1e-4)


def test_read_noise_falls_with_the_root_of_the_coadds() -> None:
    single, four = described().read_noise, described(COADDS=4).read_noise
    assert [2 * noise for noise in four if noise] == pytest.approx([n for n in single if n], abs=0.011)


@pytest.mark.parametrize(
    ("reads", "date", "mode"),
    [
        (2, "2015-01-10", "Bright Objects"),
        (8, "2015-01-10", "Faint Objects"),
        (16, "2012-11-01", "Very Faint Objects"),
        (1, "2012-10-31", "Bright Objects"),
        (2, "2012-10-31", "Bright Objects"),
        (4, "2012-10-31", "Faint Objects"),
        (8, "2012-10-31", "Very Faint Objects"),
        (3, "2015-01-10", "Unknown"),
    ],
)
def test_read_mode_before_and_after_the_change_of_lnrs(reads: int, date: str, mode: str) -> None:
    frame = described(LNRS=reads, **{"DATE-OBS": date})
    assert frame.read_speed_setting == mode
    assert (frame.read_noise[0] is None) == (mode == "Unknown")


def test_reads_that_were_put_right_are_not_put_right_again() -> None:
    repaired = described(LNRS=8, LNRSREAD=True, **{"DATE-OBS": "2012-10-31"})
    assert repaired.read_speed_setting == "Faint Objects"


@pytest.mark.parametrize(
    ("changes", "name", "known"),
    [
        ({"FILTER2": "Unknown", "FILT2POS": 6933}, "Kprime", True),
        ({"FILTER2": "Unknown", "FILT2POS": 69633}, "Kprime", True),
        ({"FILTER2": "Unknown", "FILT2POS": 24}, "Kprime", True),
        ({"FILTER2": "Unknown", "FILT2POS": 1200}, "Kprime&Unknown", False),
        ({"FILTER2": "Unknown"}, "Kprime&Unknown", False),
        ({"FILTER1": "Unknown", "FILT1POS": 200, "FILTER2": "H2(1-0)_G1121"}, "H2(1-0)", True),
        ({"FILTER1": "Clear", "FILTER2": "Clear"}, "open", True),
        ({"FILTER1": "Clear", "FILTER2": "Blocked1_G1114"}, "Blocked1&blank", True),
        ({"FILTER1": None}, None, False),
    ],
)
def test_filters_of_a_wheel_that_was_still_moving(changes: dict, name: str | None, known: bool) -> None:
    frame = described(**changes)
    assert (frame.filter, frame.filter_is_known) == (name, known)


@pytest.mark.parametrize(("date", "rows"), [("2013-05-13", (513, 511)), ("2013-05-12", (512, 512))])
def test_central_windows_are_shifted_by_a_row_from_may_2013(date: str, rows: tuple[int, int]) -> None:
    primary, chips = headers(**{"DATE-OBS": date})
    for chip in chips:
        chip.update({"CCDSEC": "[513:1536,513:1536]", "NAXIS1": 1024, "NAXIS2": 1024})
    frame = describe(primary, chips)
    assert [(y1, y2 - y1) for _, _, _, y1, y2 in frame.regions] == [(rows[i // 2], 1024) for i in range(4)]
    assert frame.array_section == [(512, 1536, 512, 1536)] * 4, "the claim is told as it stands"


def test_a_stack_lies_on_no_array() -> None:
    primary, chips = headers()
    chip = chips[0]
    chip["EXTNAME"] = "SCI"
    del chip["ARRAYID"], chip["CCDSEC"], chip["DETSEC"]
    variance = chip.copy()
    variance["EXTNAME"] = "VAR"
    frame = describe(primary, [chip, variance])
    assert len(frame.chips) == 1
    assert frame.regions == ()


def test_time_never_comes_from_mjd_and_nothing_fails_on_an_empty_header() -> None:
    assert described(UT=None, **{"MJD-OBS": 57000.0}).ut_datetime is None
    assert described(UT="2:3:4.56").ut_time == dt.time(2, 3, 4, 560000)
    empty = describe(fits.Header(), [])
    for name in MEANINGS:
        getattr(empty, name)
    assert empty.filter is None and empty.ra is None


def test_units_are_found_where_they_stand() -> None:
    assert described().is_in_adu
    assert not described(BUNITS="electron").is_in_adu


def test_every_descriptor_says_what_it_is() -> None:
    assert len(MEANINGS) > 60
    assert all(meaning.endswith(".") for meaning in MEANINGS.values())


@pytest.mark.parametrize(
    ("cards", "place"),
    [
        ({"RA": "05:21:49.144", "DEC": "-69:29:59.76"}, (80.45476667, -69.49993333)),
        ({"RA": " 5 21 49.144", "DEC": "-0:30:00"}, (80.45476667, -0.5)),
        ({"RA": "80.45", "DEC": "69.5"}, (80.45, 69.5)),
        ({"RA": -9999.0, "DEC": "none"}, (None, None)),
    ],
)
def test_a_target_is_read_in_degrees_and_in_sexagesimal(cards: dict, place: tuple[Any, Any]) -> None:
    frame = described(**cards)
    assert (frame.target_ra, frame.target_dec) == pytest.approx(place, abs=1e-6, nan_ok=True)


def test_proper_motion_in_ra_is_seconds_of_time_a_year_without_cosine() -> None:
    moved = described(PMRA=0.1, PMDEC=2.0, EPOCH=2000.0)
    years = 15.0 + 9.085 / 365
    assert (moved.target_ra - REAL["RA"]) * 3600 == pytest.approx(15 * 0.1 * years, rel=1e-4)
    assert (moved.target_dec - REAL["DEC"]) * 3600 == pytest.approx(2.0 * years, rel=1e-4)


@pytest.mark.parametrize("angle", [0.0, 35.0, 90.0, 201.5])
def test_p_and_q_turn_with_the_position_angle_from_north_through_east(angle: float) -> None:
    """Q points where the position angle says, P a right angle further to the east, as in astropy."""
    east, north = described(PA=angle, POFFSET=3.0, QOFFSET=-7.0).sky_offset or (0.0, 0.0)
    target = SkyCoord(80.0, 0.0, unit="deg")
    along_q = target.directional_offset_by(angle * u.deg, -7.0 * u.arcsec)
    moved = along_q.directional_offset_by((angle + 90.0) * u.deg, 3.0 * u.arcsec)
    seen = target.spherical_offsets_to(moved)
    assert (east, north) == pytest.approx([float(one.to_value("arcsec")) for one in seen], abs=1e-3)


@pytest.mark.parametrize(("port", "sign"), [(1, -1.0), (5, 1.0)])
def test_the_mirror_of_the_side_port_turns_x_round_and_leaves_y(port: int, sign: float) -> None:
    frame = described(INPORT=port)
    assert frame.detector_x_offset == pytest.approx(sign * 1.0 / 0.0196556, rel=1e-4)
    assert frame.detector_y_offset == pytest.approx(2.0 / 0.0196556, rel=1e-4)


def test_the_seeing_of_the_adaptive_optics_follows_from_fried_s_length() -> None:
    assert described(AOSEEING=0.7, RZEROVAL=12.0).ao_seeing == 0.7
    assert described(RZEROVAL=12.0).ao_seeing == pytest.approx(0.8422, abs=1e-4)
    assert described(RZEROVAL=0.0).ao_seeing is None
    assert described().ao_seeing is None


@pytest.mark.parametrize("key", ["PA", "POFFSET", "AIRMASS", "INPORT", "EXPTIME"])
def test_minus_9999_is_missing(key: str) -> None:
    names = {"PA": "position_angle", "POFFSET": "p_offset", "AIRMASS": "airmass", "INPORT": "port"}
    assert getattr(described(**{key: -9999}), names.get(key, "exposure_time")) is None
