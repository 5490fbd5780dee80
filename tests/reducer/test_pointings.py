"""Objects are what two exposures of a pointing show; a poor pointing is one that has surely fewer."""

from __future__ import annotations

import numpy as np
import pytest

from reducer.sky.empty import Objects, count_objects, is_poor

SIDE = 60


def plane(*places: tuple[int, int]) -> dict[int, np.ndarray]:
    shown = np.zeros((SIDE, SIDE), bool)
    for x, y in places:
        shown[y : y + 3, x : x + 3] = True
    return {1: shown}


def test_what_two_exposures_show_at_one_place_of_the_sky_is_an_object() -> None:
    """Stars move with the dither; a cosmic ray is in one exposure, what is on the detector stays."""
    first = plane((10, 10), (30, 20), (50, 50), (5, 40))
    second = plane((14, 8), (34, 18), (20, 50), (5, 40))
    known = [{1: np.ones((SIDE, SIDE), bool)}] * 2
    found = count_objects([first, second], known, [{1: (0.0, 0.0)}, {1: (4.2, -1.8)}])
    assert found.number == 2
    assert found.area == pytest.approx(18 / (SIDE - 4) / (SIDE - 2))


def test_of_three_exposures_one_may_be_spoilt() -> None:
    shown = [plane((10, 10)), plane(), plane((10, 10))]
    known = [{1: np.ones((SIDE, SIDE), bool)}] * 3
    assert count_objects(shown, known, [{1: (0.0, 0.0)}] * 3).number == 1


@pytest.mark.parametrize(
    ("other", "target", "poor"),
    [
        (Objects(1, 0.001), Objects(40, 0.02), True),
        (Objects(20, 0.01), Objects(400, 0.2), True),
        (Objects(30, 0.02), Objects(40, 0.03), False),
        (Objects(40, 0.03), Objects(2, 0.01), False),
        (Objects(0, 0.0), Objects(4, 0.002), True),  # nothing there to make a stack of
        (Objects(2, 0.001), Objects(5, 0.002), False),  # so few tell nothing
        (Objects(6, 0.01), Objects(3, 0.5), True),  # a galaxy fills the target's field
        (Objects(3, 0.3), Objects(60, 0.9), False),
        (Objects(71, 0.043), Objects(44, 0.148), False),  # a field of stars beside a nebula with fewer
        (Objects(171, 0.05), Objects(196, 0.312), False),
    ],
)
def test_a_poor_pointing_has_surely_fewer_objects_or_much_less_light(
    other: Objects, target: Objects, poor: bool
) -> None:
    assert is_poor(other, target) == poor
