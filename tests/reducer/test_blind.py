"""What shows no sky is found cell by cell, and what has light of objects is not taken for it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from reducer import dq
from reducer.sky.blind import CELL, Cells, cells_of, find_blind, hide_cells

ARRAYS = (1, 2, 3, 4)
SIDE = 1024
Y, X = np.mgrid[0:SIDE:4, 0:SIDE:4]
#: Read noise in counts.
NOISE = 11.0


def expose(light: Callable[[int, int], np.ndarray | float], count: int = 4) -> list[dict[int, Cells]]:
    """Exposures of a sky of 3300 electrons and of what ``light`` adds to an exposure and array, electrons."""
    rng = np.random.default_rng(4)
    frames = []
    for place in range(count):
        cells = {}
        for array in ARRAYS:
            level = 3300 * (1 + 0.01 * place) + light(place, array)
            counts = (level + 60 * rng.standard_normal(X.shape)).astype(np.float32) / np.float32(2.4)
            cells[array] = cells_of(
                counts * np.float32(2.4), np.zeros(X.shape, np.uint16), counts, NOISE, 512
            )
        frames.append(cells)
    return frames


def shares(frames: list[dict[int, Cells]]) -> np.ndarray:
    """The part of each array of each exposure that is blind."""
    blind, sky = find_blind(frames, [0] * len(frames))
    assert sky == pytest.approx(3350, rel=0.1)
    return np.array([[each[array].mean() for array in ARRAYS] for each in blind])


def test_a_galaxy_that_moves_a_little_is_no_damage() -> None:
    def galaxy(place: int, array: int) -> np.ndarray | float:
        away = np.hypot(X - 500 - 100 * place, Y - 500)
        return 9000 * np.exp(-away / 250) if array == 2 else 400.0 * (array == 1)

    assert not shares(expose(galaxy)).any()


@pytest.mark.parametrize("first", [210, 500, 800])
def test_rows_that_jumped_while_an_array_was_read_are_found(first: int) -> None:
    found = shares(expose(lambda place, array: 3600.0 * (first <= Y) if (place, array) == (1, 3) else 0.0))
    jumped = (SIDE - first) / SIDE
    assert jumped <= found[1, 2] < jumped + 2.5 * CELL / SIDE
    found[1, 2] = 0
    assert not found.any()


def test_a_jump_is_told_from_a_galaxy_in_another_array() -> None:
    def light(place: int, array: int) -> float:
        return 1440.0 * ((place, array) == (2, 3)) + 2200.0 * (array == 4)

    found = shares(expose(light))
    assert found[2, 2] == 1
    assert found.sum() == 1


def test_unread_pixels_are_blind_with_their_neighbours() -> None:
    found = shares(expose(lambda place, array: -3280.0 * (X < 500) if (place, array) == (0, 1) else 0.0))
    assert 0.5 <= found[0, 0] < 0.65
    assert found.sum() == found[0, 0]


def test_counts_that_are_all_the_same_are_no_sky() -> None:
    frames = expose(lambda place, array: 0.0)
    counts = np.full(X.shape, 1375.0, np.float32)
    frames[2][4] = cells_of(counts * np.float32(2.4), np.zeros(X.shape, np.uint16), counts, NOISE, 512)
    found = shares(frames)
    assert found[2, 3] == 1
    assert found.sum() == 1


def test_faint_skies_are_not_taken_for_dead() -> None:
    frames = expose(lambda place, array: -3270.0 - 33 * place)
    blind, sky = find_blind(frames, [0] * 4)
    assert sky == pytest.approx(30, abs=5)
    assert not any(each.any() for arrays in blind for each in arrays.values())


@pytest.mark.parametrize("dead", [(), (6, 2)])
def test_skies_are_not_dead_beside_a_target_that_is_brighter_all_over(dead: tuple[int, ...]) -> None:
    """A nebula in J: the skies were thrown away, and the nebula's own exposures taken for its sky."""

    def light(place: int, array: int) -> float:
        level = 3300 * (1 + 0.01 * place)
        if (place, array) == dead:
            return -level
        return 300.0 - level + (400.0 + 200.0 * array if place < 5 else 0.0)

    frames = expose(light, count=8)
    blind, sky = find_blind(frames, [0] * 5 + [1] * 3)
    assert sky == pytest.approx(300, rel=0.1)
    found = {(n, a) for n, each in enumerate(blind) for a, part in each.items() if part.any()}
    assert found == ({dead} if dead else set())


@pytest.mark.parametrize("dead", [(), (5, 3)])
def test_short_skies_are_judged_by_what_they_would_show_in_the_time_of_the_objects(
    dead: tuple[int, ...],
) -> None:
    """Skies of half the time have half the light; the array that one of them lost is found, and no other."""

    def light(place: int, array: int) -> float:
        level = 3300 * (1 + 0.01 * place)
        return -level if (place, array) == dead else -level / 2 if place >= 3 else 0.0

    frames = expose(light, count=6)
    scaled = [{a: c.times(2.0 if n >= 3 else 1.0) for a, c in each.items()} for n, each in enumerate(frames)]
    blind, sky = find_blind(scaled, [0, 0, 0, 1, 1, 1])
    found = {(n, a) for n, each in enumerate(blind) for a, part in each.items() if part.any()}
    assert found == ({dead} if dead else set())
    assert sky == pytest.approx(3350, rel=0.1)


def test_blind_cells_hide_their_pixels() -> None:
    blind = np.zeros((2, 2), bool)
    blind[1, 0] = True
    mask = np.zeros((80, 130), np.uint16)
    hide_cells(blind, mask, 50)
    assert (mask[14:, :64] == dq.NO_DATA).all()
    assert not mask[:14].any() and not mask[:, 64:].any()


def test_the_columns_of_a_channel_are_told_in_a_region_too() -> None:
    def widths(first_column: int) -> list[int]:
        medians = np.zeros((4, 1280 // CELL), np.float32)
        channels = Cells(medians, np.zeros(medians.shape, bool), first_column).channels
        return [CELL * (part.stop - part.start) for part in channels]

    assert widths(0) == [512, 512, 256]
    assert widths(384) == [128, 512, 512, 128]
