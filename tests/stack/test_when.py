"""When a stack was exposed, and at what airmass, with coadds and over several nights."""

from __future__ import annotations

import pytest
from astropy.io import fits
from astropy.time import Time

from reducer.headers.descriptors import describe
from reducer.stack.product import time_keywords


def header(day: str, ut: str, airmass: float, exptime: float = 30.0, coadds: int = 2) -> fits.Header:
    cards = {"DATE-OBS": day, "UT": ut, "AIRMASS": airmass, "EXPTIME": exptime, "COADDS": coadds}
    return fits.Header(cards)


NIGHTS = [
    header("2017-05-06", "23:59:30.5", 1.5),
    header("2017-05-05", "03:00:00", 1.1, 60.0, 5),
    header("2017-05-08", "04:00:00.0", 1.2),
]
SECONDS = [60.0, 300.0, 60.0]


def test_a_stack_of_several_nights_has_its_first_begin_and_last_end_whatever_their_order() -> None:
    made = time_keywords(NIGHTS, SECONDS)
    assert made["DATE-BEG"] == "2017-05-05T03:00:00.000"
    assert made["DATE-END"] == "2017-05-08T04:01:00.000"


def test_mean_time_and_airmass_count_every_second_of_all_coadds() -> None:
    made = time_keywords(NIGHTS, SECONDS)
    middles = Time(["2017-05-07T00:00:00.5", "2017-05-05T03:02:30", "2017-05-08T04:00:30"], scale="utc").mjd
    assert made["MJD-AVG"] == pytest.approx(
        (60 * middles[0] + 300 * middles[1] + 60 * middles[2]) / 420, abs=1e-7
    )
    assert made["AIRMASS"] == pytest.approx((60 * 1.5 + 300 * 1.1 + 60 * 1.2) / 420, abs=1e-4)


def test_stacks_that_are_stacked_have_the_times_of_all_their_exposures() -> None:
    direct = time_keywords(NIGHTS, SECONDS)
    part = NIGHTS[0].copy()
    part.update(time_keywords(NIGHTS[:2], SECONDS[:2]))
    joined = time_keywords([part, NIGHTS[2]], [360.0, 60.0])
    assert joined["MJD-AVG"] == pytest.approx(direct["MJD-AVG"], abs=1e-7)
    assert joined["AIRMASS"] == pytest.approx(direct["AIRMASS"], abs=1e-4)
    assert [joined[key] for key in ("DATE-BEG", "DATE-END")] == [direct[k] for k in ("DATE-BEG", "DATE-END")]


def test_a_zeropoint_is_for_the_airmass_of_the_flux_scale_and_not_for_the_mean() -> None:
    part = NIGHTS[0].copy()
    part.update(time_keywords(NIGHTS, SECONDS))
    assert describe(part, ()).airmass == pytest.approx(1.1714, abs=1e-4)
    assert describe(part, ()).scale_airmass == 1.5
    assert describe(NIGHTS[1], ()).scale_airmass == 1.1


def test_what_headers_do_not_tell_is_not_made_up() -> None:
    assert time_keywords([NIGHTS[0], fits.Header()], [60.0, 60.0]) == {}
