"""Whether to trust a stack: each number with a light, a plain sentence, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from goafetch.report.quality import Quality
from reducer.align.absolute import FAR

GOOD, LOOK, BAD, UNKNOWN = "good", "look", "bad", "unknown"

#: Arcsec: images of 60-100 mas are what the adaptive optics gives in K (Neichel et al. 2014); 0.3 is seeing.
SHARP, SEEING = 0.13, 0.30
#: Residuals that well exposed stars stay below with the distortion solved for, and from which on they make
#: the images of a stack wider (half a pixel), mas.
ALIGNED, SMEARED = 3.0, 10.0
#: Residuals of a tie over what errors explain: up to here nothing else is in them.
EXPLAINED = 2.0
#: Fewest stars whose residuals say something of a tie.
TELLING = 3
#: The error of a zeropoint from a standard in clear weather, mag; and by what one may lie from the nominal:
#: more than published sets disagree by, with a mirror that is due for a new coat.
CALIBRATED, POSSIBLE = 0.05, 0.6
#: Electrons to which the sky's level is known where skies were taken between the exposures; part of the
#: picture that has data where nothing went wrong.
LEVELLED, COVERED = 20.0, 0.4


@dataclass(frozen=True)
class Verdict:
    """One judgement: ``light`` is 'good', 'look', 'bad' or 'unknown'."""

    name: str
    value: str
    light: str
    sentence: str
    remedy: str = ""


def judge(quality: Quality, *, corrected: bool, warnings: Sequence[object], left_out: int) -> list[Verdict]:
    """All judgements of a stack; ``corrected`` says that adaptive optics is expected to have worked."""
    return [
        _judge_exposure(quality, left_out, bool(warnings)),
        _judge_sharpness(quality, corrected),
        _judge_depth(quality),
        _judge_noise(quality),
        _judge_sky(quality),
        _judge_alignment(quality),
        _judge_positions(quality),
        _judge_coordinates(quality),
        _judge_zeropoint(quality),
        _judge_warnings(warnings),
    ]


def _judge_exposure(quality: Quality, left_out: int, warned: bool) -> Verdict:
    if quality.seconds is None:
        sentence = "The product does not say how long it was exposed."
        return Verdict("Exposure", "not known", UNKNOWN, sentence, "Make the stack again with this version.")
    count = f" in {quality.exposures} exposures" if quality.exposures else ""
    even = (
        "" if quality.even is None else f"; {quality.even:.0%} of that was exposed for at least half as long"
    )
    sentence = f"{quality.seconds:.0f} s{count}; {quality.covered:.0%} of the picture has data{even}."
    light, remedy = GOOD, ""
    if left_out:
        light, remedy = LOOK, f"{left_out} files were left out: read why below, and see whether you agree."
    # Where only windows of the arrays were read, little of the picture has data and nothing is lost.
    elif quality.flat_lost or (warned and quality.covered < COVERED):
        lost = f"The flat has no data in array {quality.flat_lost}. " if quality.flat_lost else ""
        light = LOOK
        remedy = f"{lost}Little of the picture has data: read the warnings below for what was lost."
    return Verdict("Exposure", f"{quality.seconds:.0f} s", light, sentence, remedy)


def _judge_sharpness(quality: Quality, corrected: bool) -> Verdict:
    if quality.fwhm is None:
        sentence = "The catalogue has too few good stars to measure a width."
        remedy = "Judge by the stars in the picture above, and by the widths of single exposures below."
        return Verdict("Sharpness", "not measured", UNKNOWN, sentence, remedy)
    sentence = (
        f"Full width at half of the peak, the median of {quality.stars} stars; most lie between "
        f"{(quality.sharpest or 0) * 1000:.0f} and {(quality.widest or 0) * 1000:.0f} mas."
    )
    light, remedy = GOOD, ""
    if corrected and quality.fwhm > SEEING:
        light = BAD
        remedy = (
            "This is natural seeing: the loop was open, or the alignment failed. Look at single exposures."
        )
    elif corrected and quality.fwhm > SHARP:
        light = LOOK
        remedy = (
            "Wider than a good correction gives. See the widths of single exposures; "
            "a stack of the sharpest half may serve you better."
        )
    return Verdict("Sharpness", f"{quality.fwhm * 1000:.0f} mas", light, sentence, remedy)


def _judge_depth(quality: Quality) -> Verdict:
    if quality.depth is None:
        sentence = "Depth needs the width of stars and the variance."
        return Verdict("Depth", "not measured", UNKNOWN, sentence, "See the map of the noise below instead.")
    limit = quality.limit(quality.depth)
    value = f"{quality.depth:.0f} e-" if limit is None else f"{limit:.2f} mag"
    sentence = (
        f"A point source of {quality.depth:.0f} electrons an exposure stands five sigma above the sky "
        f"in an aperture of one FWHM in radius; the noise of a pixel is {quality.noise:.2f} electrons."
    )
    if quality.complete is not None:
        found = quality.limit(quality.complete)
        light = f"{quality.complete:.0f} e-" if found is None else f"{found:.2f} mag"
        value = f"{value}, 90 % of stars to {light}"
        sentence += (
            f" Of stars with {quality.complete:.0f} electrons of total light nine in ten are in the "
            "catalogue; the table COMPLETENESS has the fraction at other brightnesses."
        )
    return Verdict("Depth (5 sigma)", value, GOOD, sentence)


def _judge_noise(quality: Quality) -> Verdict:
    ratio = quality.noise_ratio
    if ratio is None:
        sentence = "Too few pixels to compare the scatter with VAR."
        remedy = "Look why so little of the picture has data."
        return Verdict("Noise", "not measured", UNKNOWN, sentence, remedy)
    sentence = f"Pixels scatter {ratio:.2f} times as much as the variance plane says (1 is perfect)."
    light, remedy = GOOD, ""
    if not 0.7 <= ratio <= 1.5:
        light = BAD
        remedy = "Do not trust error bars from VAR before you know why: look at the sky's residuals below."
    elif not 0.85 <= ratio <= 1.15:
        light = LOOK
        remedy = "A crowded field does this, as stars count as scatter; else scale your error bars by it."
    return Verdict("Noise", f"{ratio:.2f}", light, sentence, remedy)


def _judge_sky(quality: Quality) -> Verdict:
    if quality.sky is None:
        sentence = "The product does not say how sure the level of its sky is."
        return Verdict("Sky", "not known", UNKNOWN, sentence, "Look at the background far from all objects.")
    value = f"± {quality.sky:.1f} e-"
    sentence = f"The level of the sky that was subtracted is sure to {quality.sky:.1f} electrons (one sigma)."
    if quality.sky <= LEVELLED:
        return Verdict("Sky", value, GOOD, sentence)
    remedy = "Smooth light of so many electrons cannot be told from sky: do not trust surface brightness."
    return Verdict("Sky", value, LOOK, sentence, remedy)


def _judge_alignment(quality: Quality) -> Verdict:
    if quality.unaligned:
        sentence = "So many exposures share no stars with the others and were laid where their headers say."
        remedy = "Look at a star where they overlap: if it is double or long, stack without them."
        return Verdict("Alignment", f"{quality.unaligned} by header", LOOK, sentence, remedy)
    if quality.residual is None:
        sentence = "A single exposure, or too few stars in common to tell how well they agree."
        remedy = "Look whether stars are round and single in the picture above."
        return Verdict("Alignment", "not measured", UNKNOWN, sentence, remedy)
    sentence = f"Stars of the exposures agree to {quality.residual:.2f} mas rms per axis, in the median."
    worst = quality.worst or quality.residual
    if worst > ALIGNED:
        sentence += f" Those of the worst exposure agree to {worst:.1f} mas."
    light, remedy = GOOD, ""
    if quality.residual > SMEARED:
        light = BAD
        remedy = "The stack is blurred by it: look at its stars, and stack the exposures that agree."
    elif quality.residual > ALIGNED or worst > SMEARED:
        light = LOOK
        remedy = "Worse than the instrument allows: see the residual of each exposure below."
    return Verdict("Alignment", f"{quality.residual:.2f} mas", light, sentence, remedy)


def _judge_positions(quality: Quality) -> Verdict:
    error = quality.position_error
    if error is None:
        sentence, remedy = "The catalogue has too few good stars.", "See ERR_POS of single stars in OBJCAT."
        return Verdict("Positions", "not measured", UNKNOWN, sentence, remedy)
    of = f"{quality.stars} stars"
    sentence = f"Typical random error of a good star's position relative to its neighbours, {of}."
    return Verdict("Positions", f"{error:.2f} mas", GOOD, sentence)


def _judge_coordinates(quality: Quality) -> Verdict:
    turned = "" if quality.rotation is None else f" North is known to {quality.rotation:.2f} degree."
    if not quality.catalogue:
        sentence = "RA and Dec rest on the telescope's pointing alone, which can be wrong by arcseconds."
        remedy = "Repeat the run where Gaia can be reached, or give a table of positions with --catalog FILE."
        return Verdict("Coordinates", "by pointing", LOOK, sentence + turned, remedy)
    name, tie = quality.catalogue, quality.tie
    rms = f", {tie:.1f} mas rms" if tie is not None else ""
    sentence = f"Tied to {name} by {quality.tied} stars{rms}.{turned}"
    if quality.tied < TELLING or tie is None:
        remedy = "So few stars cannot contradict each other: check one that you know in the picture above."
        return Verdict("Coordinates", name, LOOK, sentence, remedy)
    if tie <= EXPLAINED * quality.explained:
        return Verdict("Coordinates", name, GOOD, sentence)
    sentence += f" Errors of the catalogue and of centres explain {quality.explained:.1f} mas."
    if tie <= FAR * quality.explained:
        remedy = "Use the residuals, not the catalogue's errors, as the error of RA and Dec."
        return Verdict("Coordinates", name, LOOK, sentence, remedy)
    remedy = "The stars may be others, or have moved: compare with a catalogue of better positions or epoch."
    return Verdict("Coordinates", name, BAD, sentence, remedy)


def _judge_zeropoint(quality: Quality) -> Verdict:
    if quality.zeropoint is None:
        missing = f"No magnitude scale was derived: {quality.missing}."
        plain = "Pixels are electrons per exposure; no magnitude scale was derived."
        remedy = (
            "Give magnitudes of the standard with --standards FILE, or of stars in the field with "
            "--phot-catalog FILE."
        )
        return Verdict("Zeropoint", "none", UNKNOWN, missing if quality.missing else plain, remedy)
    sentence = "Vega magnitude of a star that gives one electron per second."
    error, light, remedy = quality.zeropoint_error, GOOD, ""
    if quality.strange is not None and abs(quality.strange) > POSSIBLE:
        sentence += f" It lies {quality.strange:+.2f} mag from the instrument's nominal one."
        light = BAD
        remedy = "No clear night gives that: see which stars it is from, and whether there were clouds."
    elif error is None or error > CALIBRATED:
        light = LOOK
        remedy = "Less certain than a good standard gives: see the decisions below for what limits it."
    elif quality.carried:
        sentence += " It is the standard's; how clear the sky was afterwards is not known, nor in its error."
        light = LOOK
        remedy = (
            "Give magnitudes of stars in the field with --phot-catalog FILE, which tell the transparency."
        )
    value = f"{quality.zeropoint:.3f}" + (f" ± {error:.3f} mag" if error is not None else " mag")
    return Verdict("Zeropoint", value, light, sentence, remedy)


def _judge_warnings(warnings: Sequence[object]) -> Verdict:
    if not warnings:
        return Verdict("Warnings", "none", GOOD, "No step had anything to warn about.")
    remedy = "Read them below: each says what was found and what was done instead."
    return Verdict("Warnings", str(len(warnings)), LOOK, "Steps warned while they worked.", remedy)
