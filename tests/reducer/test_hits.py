"""A cosmic ray's charge leaks into the pixels beside it, and goes with it."""

from __future__ import annotations

import numpy as np

from reducer.stack.coadd import RejectionMethod, Samples, combine

SIGMA = 60.0


def combined(frames: np.ndarray) -> np.ndarray:
    shape = frames.shape
    samples = Samples(
        frames.astype(np.float32),
        np.full(shape, SIGMA**2, np.float32),
        np.zeros(shape, np.uint16),
        np.ones(shape, np.uint8),
    )
    return combine(samples, np.ones((shape[0], 5)), np.full(shape[0], 60.0), RejectionMethod()).exposure


def test_what_a_strong_hit_leaks_into_its_neighbours_is_left_out_with_it() -> None:
    frames = np.random.default_rng(4).normal(0, SIGMA, (9, 40, 40))
    frames[3, 20, 20] += 20000
    frames[3, 20, [19, 21]] += 120
    exposure = combined(frames)
    assert exposure[20, 19:22].max() == 480
    assert exposure[20, 15] == exposure[20, 25] == 540


def test_beside_a_weak_hit_only_what_stands_out_is_left_out() -> None:
    frames = np.zeros((9, 40, 40))
    frames[3, 20, 20], frames[3, 20, 21] = 6 * SIGMA, 3 * SIGMA
    exposure = combined(frames)
    assert exposure[20, 20] == exposure[20, 21] == 480
    assert exposure[20, 19] == 540
