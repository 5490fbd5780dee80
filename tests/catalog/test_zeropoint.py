"""The zeropoint that a standard star gives, against the truth it was drawn with."""

from dataclasses import replace

import numpy as np
import pytest
from drawn_standard import EXTINCTION, TARGET, ZEROPOINT

from reducer.astrometry import LinearWcs
from reducer.photometry import zeropoint
from reducer.photometry.growth import measure_light
from reducer.photometry.zeropoint import PARTS, read_zeropoint
from reducer.steps.flux import measure_star, measureZeropoint


def of_reference(transparencies, airmass):
    """What PHOTZP has to be: above the atmosphere, on the scale of the first exposure."""
    return ZEROPOINT - EXTINCTION * airmass + 2.5 * np.log10(transparencies[0])


def test_a_standard_gives_its_zeropoint_with_every_part_of_the_error(standard):
    frames, context, transparencies, said = standard(12.0, 1)
    header = measureZeropoint(frames, context)[0].header
    truth = of_reference(transparencies, frames[0].header["AIRMASS"])
    assert abs(header["PHOTZP"] - truth) < 3 * header["PHOTZPER"]
    assert header["PHOTZPER"] < 0.03
    assert header["PHOTZPER"] == pytest.approx(
        np.hypot.reduce([header[key] for key in PARTS.values() if key in header]), abs=2e-4
    )
    (told,) = (facts for event, facts in said if event == "zeropoint")
    assert np.hypot.reduce([*told["parts"].values()]) == pytest.approx(header["PHOTZPER"], abs=2e-4)
    assert header["PHOTK"] == EXTINCTION
    assert header["PHOTAM"] == frames[0].header["AIRMASS"]
    mean = ZEROPOINT + 2.5 * np.mean(np.log10(transparencies))
    assert abs(header["PHOTZP0"] - mean) < 3 * header["PHOTZPER"]
    assert header["PHOTNUM"] == 4


def test_without_a_magnitude_there_is_none_and_what_is_missing_is_said(standard):
    frames, context, _, said = standard(12.0, 2, listed=False)
    header = measureZeropoint(frames, context)[0].header
    assert "PHOTZP" not in header
    assert "--standards FILE" in header["PHOTMISS"]
    assert "Star One" in next(facts["reason"] for event, facts in said if event == "no_zeropoint")


def test_a_saturated_standard_is_not_used(standard):
    frames, context, _, said = standard(11.0, 3, saturated=True)
    header = measureZeropoint(frames, context)[0].header
    assert "PHOTZP" not in header
    assert sum("saturated" in str(facts) for event, facts in said if event == "standard_unused") == 4


def test_a_zeropoint_far_from_the_nominal_one_is_warned_about(standard, monkeypatch):
    frames, context, _, said = standard(12.0, 4)
    monkeypatch.setattr(zeropoint, "nominal_zeropoint", lambda facts: 25.5)
    measureZeropoint(frames, context)
    assert "zeropoint_odd" in [event for event, _ in said]


def test_science_takes_the_standards_zeropoint_at_its_own_airmass(standard, tmp_path):
    frames, context, _, said = standard(12.0, 5)
    stack = measureZeropoint(frames, context)[0]
    science = frames[0].header.copy()
    science["OBSCLASS"], science["AIRMASS"] = "science", 1.7

    class WithStack:
        def open_frame(self, path):
            return stack

    context = replace(
        context, files=WithStack(), parameters={"measureZeropoint": {"standard": str(tmp_path / "s.fits")}}
    )
    header = measureZeropoint([frames[0].with_(header=science)], context)[0].header
    assert header["PHOTZP"] == pytest.approx(stack.header["PHOTZP0"] - EXTINCTION * 1.7, abs=2e-4)
    assert header["PHOTTRAN"] == "unknown"
    assert header["PHOTZPER"] > stack.header["PHOTZPER"]
    assert "transparency_unknown" in [event for event, _ in said]
    assert read_zeropoint(header).transparency is None


def test_the_light_of_a_stack_is_that_of_its_own_pixels(standard):
    """It was taken for that of reference pixels: a zeropoint of its own was 0.03 mag too high."""
    frames, context, _, _ = standard(12.0, 6)
    frame, chip = frames[0], context.disk.read_chip(frames[0], 0)
    plane = LinearWcs((1.0, 1.0), TARGET, (-0.02 / 3600, 0.0, 0.0, 0.02 / 3600))
    regions = (replace(frame.geometry.regions[0], plane=plane),)
    stack = frame.with_(geometry=replace(frame.geometry, regions=regions))
    star, others = frame.sources[0][0], frame.sources[0][1:]
    light = measure_light(
        chip.data, chip.variance, chip.mask == 0, star, others, frame.instrument.widths.halo
    )
    measured = measure_star((context.disk, stack, 0, star, others))
    assert measured.light.total == pytest.approx(light.total, rel=1e-6)


@pytest.mark.prove
def test_twenty_standards_are_right_within_their_errors(standard):
    """rms of error over PHOTZPER 0.6 to 1.5, median error below 0.01 mag, PHOTZPER at most 0.03."""
    errors, stated = [], []
    for seed in range(20):
        magnitude = np.random.default_rng([99, seed]).uniform(11.0, 13.0)
        frames, context, _, _ = standard(magnitude, [7, seed])
        header = measureZeropoint(frames, context)[0].header
        errors.append(header["PHOTZP0"] - ZEROPOINT)
        stated.append(header["PHOTZPER"])
    ratio = np.sqrt(np.mean((np.array(errors) / stated) ** 2))
    print(f"error/PHOTZPER {ratio:.2f}, median {np.median(errors):+.4f}, PHOTZPER <= {max(stated):.4f}")
    assert 0.6 < ratio < 1.5
    assert abs(np.median(errors)) < 0.01
    assert max(stated) <= 0.03
