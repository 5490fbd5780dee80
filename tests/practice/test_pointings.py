"""Programs that are changed to look at two fields, or to follow a target: what is exposed where and when."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import numpy as np
import pytest

from goafetch.practice.exposure.night import Exposure, Night
from goafetch.practice.pointings import beside, following, two_pointings, with_target
from goafetch.practice.program import TARGET, sky_field, tutorial

NIGHT = Night(objects=3, skies=2, dither=2.0)
PLACE = (30.0, 240.0)


def length(exposure: Exposure) -> timedelta:
    return timedelta(seconds=exposure.exptime * exposure.coadds)


@pytest.mark.parametrize("interleaved", [False, True])
def test_a_second_field_is_exposed_as_the_target_is(interleaved: bool) -> None:
    second = sky_field("second", TARGET, PLACE, np.random.default_rng(1))
    program = two_pointings(tutorial(NIGHT), second, interleaved=interleaved)
    visit = [e for e in program.exposures if e.kind in ("science", "sky")]
    assert [e.name[-3:] for e in visit] == [f"{95 + i:03d}" for i in range(8)]
    assert all(a.begin + length(a) <= b.begin for a, b in pairwise(visit))
    there, here = ([e for e in visit if (e.field == "second") == is_there] for is_there in (True, False))
    here = [e for e in here if e.kind == "science"]
    assert [e.place for e in there] == [e.place for e in here]
    for one, other in zip(there, here, strict=True):
        assert np.subtract(one.offset, other.offset) == pytest.approx(PLACE, abs=0.1)
        assert (one.kind, one.target, one.observation) == (other.kind, other.target, other.observation)
    turns = [e.field for e in visit if e.kind == "science"]
    assert turns == (["NGC5128", "second"] * 3 if interleaved else ["NGC5128"] * 3 + ["second"] * 3)
    assert len(program.exposures) == len(tutorial(NIGHT).exposures) + 3
    assert program.fields["second"] is second


def test_a_target_that_is_followed_stays_where_the_telescope_looks() -> None:
    science = [e for e in tutorial(NIGHT).exposures if e.kind == "science"]
    start, rate = science[0].begin, (0.01, -0.02)
    stars = sky_field("stars", TARGET, (0.0, 0.0), np.random.default_rng(1))
    followed = following(science, rate, start)
    fields = with_target(followed, stars, (3.0, 4.0), 15.0, start)
    for one, still in zip(followed, science, strict=True):
        way = np.multiply(rate, (one.begin - start).total_seconds())
        assert np.subtract(one.place, still.place) == pytest.approx(way)
        assert (one.ra, one.dec) == pytest.approx(beside(("", still.ra, still.dec), tuple(way)), abs=1e-9)
        assert one.offset == still.offset and one.rate == rate
        field = fields[one.field]
        assert (field.x[-1], field.y[-1]) == pytest.approx(np.add((3.0, 4.0), way))
        assert len(field.x) == len(stars.x) + 1 and field.magnitude[-1] == 15.0
