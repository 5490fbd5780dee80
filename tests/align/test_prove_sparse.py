"""Fields of few stars: every exposure placed to a tenth of a pixel, none askew, hardly any lost."""

import numpy as np
import pytest
from true_night import make_night, misplacements, name_of, own_distortions, rms

PIXEL = 0.0197
#: Stars in the field, of which central regions of 1024 pixels see five to eight.
STARS = 24


def check_sparse(folder, seed):
    night = make_night(folder, "science", "sky", seed=seed, size=1024, scenery="sparse", stars=STARS,
                       dither=3.0, skies=4, sky_order="interleaved")  # fmt: skip
    frames, told = night.reduce("science", "sky")
    assert len(frames) >= 8, told
    assert np.abs(star_offsets(night, frames)).max() < 0.1 * PIXEL
    _, gaps = misplacements(night, frames)
    own = own_distortions(night, frames)
    left, limit = gaps - gaps.mean(axis=0), own - own.mean(axis=0)
    assert np.hypot(left[..., 0], left[..., 1]).max() < PIXEL
    assert (rms(left) < np.hypot(1.2 * rms(limit), 0.1 * PIXEL)).all()


def star_offsets(night, frames):
    """Mean of each exposure's stars less the mean places of the same stars, at true pixels: (frames, 2)."""
    places = {}
    for number, frame in enumerate(frames):
        stars = night.stars(name_of(frame))
        for star in stars[stars["electrons"] > 3e4]:
            chip = [region.array for region in frame.geometry.regions].index(star["array"])
            places.setdefault(star["id"], {})[number] = np.array(
                frame.geometry.evaluate(star["x"], star["y"], chip)
            )
    gaps = [[] for _ in frames]
    for seen in places.values():
        middle = np.mean(list(seen.values()), axis=0)
        for number, place in seen.items():
            gaps[number].append(place - middle)
    return np.array([np.mean(gap, axis=0) for gap in gaps])


@pytest.mark.prove
@pytest.mark.parametrize("seed", range(1, 21))
def test_a_sparse_field_is_aligned_to_a_tenth_of_a_pixel(tmp_path, seed):
    check_sparse(tmp_path, seed)
