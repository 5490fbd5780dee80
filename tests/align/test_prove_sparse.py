"""Fields of few stars: every exposure placed to a tenth of a pixel, none askew, hardly any lost."""

import numpy as np
import pytest
from true_night import make_night, misplacements, name_of, own_distortions, rms

from goafetch.practice import simulate

PIXEL = 0.0197
#: Half the distance between the arrays' centres, and how far from them stars stand, arcsec.
HALF_STEP, REACH = 21.4, 7.0


def sparse_program(night):
    """The tutorial's program with five to eight stars of 14 to 18.5 mag where the arrays' middles look."""
    program = simulate.PROGRAMS["tutorial"](night)
    rng = np.random.default_rng([night.seed, 88])
    count = int(rng.integers(5, 9))
    corner = rng.permuted(np.arange(count) % 4)
    field = program.fields["NGC5128"]
    field.x[:count] = np.where(corner % 2, HALF_STEP, -HALF_STEP) + rng.uniform(-REACH, REACH, count)
    field.y[:count] = np.where(corner // 2, HALF_STEP, -HALF_STEP) + rng.uniform(-REACH, REACH, count)
    return program


def check_sparse(folder, seed):
    simulate.PROGRAMS["sparse"] = sparse_program
    night = make_night(folder, "science", "sky", program="sparse", seed=seed, size=1024, scenery="sparse",
                       stars=8, dither=1.0, skies=4, sky_order="interleaved")  # fmt: skip
    frames, told = night.reduce("science", "sky")
    assert len(frames) >= 8, told
    assert np.abs(star_offsets(night, frames)).max() < 0.1 * PIXEL
    _, gaps = misplacements(night, frames)
    own = own_distortions(night, frames)
    left, limit = gaps - gaps.mean(axis=0), own - own.mean(axis=0)
    most, allowed = (np.hypot(part[..., 0], part[..., 1]).max() for part in (left, limit))
    assert most < max(PIXEL, allowed)
    assert (rms(left) < np.hypot(1.2 * rms(limit), 0.1 * PIXEL)).all()


def star_offsets(night, frames):
    """Mean of each exposure's stars less the mean places of the same stars, at true pixels: (frames, 2)."""
    places = {}
    for number, frame in enumerate(frames):
        stars = night.stars(name_of(frame))
        region = frame.geometry.regions[0]
        on = np.all([(stars[a] > 20) & (stars[a] < region.width - 21) for a in "xy"], axis=0)
        for star in stars[on & (stars["electrons"] > 3e4)]:
            chip = [region.array for region in frame.geometry.regions].index(star["array"])
            place = frame.geometry.evaluate(star["x"], star["y"], chip)
            places.setdefault(star["id"], {})[number] = np.ravel(place)
    gaps = [[] for _ in frames]
    for seen in (seen for seen in places.values() if len(seen) == len(frames)):
        middle = np.mean(list(seen.values()), axis=0)
        for number, place in seen.items():
            gaps[number].append(place - middle)
    return np.array([np.mean(gap, axis=0) for gap in gaps])


@pytest.mark.prove
@pytest.mark.parametrize("seed", range(1, 21))
def test_a_sparse_field_is_aligned_to_a_tenth_of_a_pixel(tmp_path, seed):
    check_sparse(tmp_path, seed)
