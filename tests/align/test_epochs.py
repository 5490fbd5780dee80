"""Nights with the headers of each epoch, aligned without a catalogue and compared with the truth."""

import numpy as np
import pytest
from true_night import make_night, misplacements, rms, without_rigid

EPOCHS = [
    "2013",
    pytest.param("2014", marks=pytest.mark.prove),
    pytest.param("2018", marks=pytest.mark.prove),
]


@pytest.mark.parametrize("epoch", EPOCHS)
def test_pointing_and_rotation_are_the_truth_s_whatever_the_epoch_s_headers(tmp_path, epoch):
    """Offsets of either sign, reference pixels that are turned, windows reduced by DETSEC's origin."""
    night = make_night(
        tmp_path, "science", epoch=epoch, size=256, objects=4, dither=1.0, scenery="crowded",
        position_angle=30.0, seed=3,
    )  # fmt: skip
    frames, told = night.reduce("science")
    assert len(frames) == 4
    assert not any("rebuilt" in str(facts.get("what")) for _, facts in told)
    places, gaps = misplacements(night, frames)
    u, v = places.T
    one, zero = np.ones(len(u)), np.zeros(len(u))
    design = np.concatenate([np.c_[one, zero, -v], np.c_[zero, one, u]])
    east, north, turn = np.linalg.lstsq(design, gaps.mean(axis=0).T.ravel(), rcond=None)[0]
    assert abs(np.degrees(turn)) < 0.02
    assert np.hypot(east, north) < 0.5
    assert rms(np.stack([without_rigid(places, gap) for gap in gaps])).max() < 0.02
