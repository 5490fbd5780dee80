"""A new flat is compared with the latest one before it, never with itself or one of another filter."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from calstore.associate import PROCESSED_FLAT, Calibration
from goafetch.plan.translate import previous_flat


def flat(name: str, day: int, filter_name: str = "Kshort") -> Calibration:
    when = dt.datetime(2017, 5, day, 20)
    traits = {"instrument": "GSAOI", "filter_name": filter_name}
    return Calibration(kind=PROCESSED_FLAT, path=f"/store/{name}.fits", when=when, **traits)


def test_the_latest_flat_before_the_new_one_is_its_measure() -> None:
    stored = [flat("a", 1), flat("b", 3), flat("other", 4, "H"), flat("same", 5), flat("later", 8)]
    assert previous_flat(flat("new", 5), stored) == Path("/store/b.fits")


def test_the_first_flat_has_none_before_it() -> None:
    assert previous_flat(flat("new", 5), [flat("new", 5), flat("later", 9)]) is None
