"""How good a stack is: what it says of itself in numbers and tables, and whether to trust each number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from goafetch.report.stack_file import StackFile, column
from reducer import dq
from reducer.align.catalogue_fit import CENTRE, FAR
from reducer.headers.descriptors import describe
from reducer.photometry.zeropoint import nominal_zeropoint
from reducer.types import F32

#: Sources that count as stars of good quality: no flag, and this signal to noise in their smallest aperture.
LEAST_SIGNAL = 30.0
FEWEST_STARS = 3


@dataclass(frozen=True)
class Quality:
    """Numbers of a stack; None where the product does not hold what they need.

    ``scale``: arcsec per pixel. ``fwhm``: median of good stars, arcsec, of ``stars`` of them; ``sharpest``
    and ``widest``: 10th and 90th percentile. ``position_error``: median of the same stars, mas.
    ``depth``: electrons of a point source at 5 sigma in an aperture of one FWHM in radius; ``complete``:
    electrons of a star of which nine in ten are found among the others; ``noise``:
    electrons in a single pixel. ``noise_ratio``: scatter of pixels over what VAR says. ``covered``:
    fraction of the picture with data; ``even``: fraction of that with at least half of the exposure time.
    ``zeropoint``: Vega magnitude of one electron per second, and its error; ``missing``: why there is none;
    ``each``: EXPTIME, seconds; ``strange``: by what it lies, at airmass 0, from the filter's nominal one,
    magnitudes; ``carried``: it is a standard's, and how clear the sky was since is not known.
    ``residual``: median over exposures of the rms residual of alignment per axis, mas, and ``worst`` the
    largest; ``unaligned``: the number of exposures that no stars aligned. ``catalogue``: what the coordinates
    were tied to, empty if to nothing; ``tied``: by how many stars; ``tie``: their rms residual, mas, and
    ``explained``: what of it the catalogue's errors and those of centres explain; ``rotation``: what the
    headers' is good to, degrees, where that is all there is. ``sky``: how sure the sky's
    level is, electrons; ``flat_lost``: the arrays that the flat has no data in.
    """

    scale: float | None
    exposures: int | None
    seconds: float | None
    fwhm: float | None
    sharpest: float | None
    widest: float | None
    stars: int
    sources: int
    position_error: float | None
    depth: float | None
    complete: float | None
    noise: float | None
    noise_ratio: float | None
    covered: float
    even: float | None
    zeropoint: float | None
    zeropoint_error: float | None
    missing: str
    each: float | None
    strange: float | None
    carried: bool
    residual: float | None
    worst: float | None
    unaligned: int
    catalogue: str
    tied: int
    tie: float | None
    explained: float
    rotation: float | None
    sky: float | None
    flat_lost: str

    def limit(self, electrons: float) -> float | None:
        """The magnitude of a number of electrons an exposure, None without a zeropoint."""
        if self.zeropoint is None or not self.each or electrons <= 0:
            return None
        return self.zeropoint - 2.5 * float(np.log10(electrons / self.each))

    def faintest(self, noise: F32) -> F32:
        """The magnitude of a five sigma star where a pixel's noise is ``noise``; only with a ``limit``."""
        assert self.depth is not None and self.noise
        limit = self.limit(self.depth)
        assert limit is not None
        return np.asarray(limit - 2.5 * np.log10(noise / np.float32(self.noise)), np.float32)


def measure(stack: StackFile) -> Quality:
    """Read or compute every number of a stack's quality."""
    scale = pixel_scale(stack)
    catalogue = stack.tables.get("OBJCAT")
    good = _good_stars(stack)
    widths = column(catalogue, "FWHM_IMAGE")
    fwhm = _percentiles(widths[good], scale) if widths is not None and scale else (None, None, None)
    errors = column(catalogue, "ERR_POS")
    error = float(np.median(errors[good]) * 1000) if errors is not None and good.any() else None
    noise = typical_noise(stack)
    exposures, tie = stack.value("NCOMBINE"), stack.value("ASTRRMS")
    residual, worst = _alignment(stack)
    return Quality(
        scale=scale,
        exposures=int(exposures) if exposures is not None else None,
        seconds=stack.value("TEXPTIME"),
        sharpest=fwhm[0],
        fwhm=fwhm[1],
        widest=fwhm[2],
        stars=int(good.sum()),
        sources=0 if catalogue is None else len(catalogue),
        position_error=error,
        depth=_depth(stack, noise, fwhm[1] / scale if fwhm[1] and scale else None),
        complete=stack.value("COMPL90"),
        noise=noise,
        noise_ratio=_noise_ratio(stack),
        covered=float(np.isfinite(stack.thin.data[::2, ::2]).mean()),
        even=_evenness(stack),
        zeropoint=stack.value("PHOTZP"),
        zeropoint_error=stack.value("PHOTZPER"),
        missing=stack.text("PHOTMISS"),
        each=stack.value("EXPTIME"),
        strange=_strangeness(stack),
        carried=stack.text("PHOTTRAN") == "unknown" and stack.value("PHOTE_EX") is not None,
        residual=residual,
        worst=worst,
        unaligned=_unaligned(stack),
        catalogue=stack.text("ASTRCAT"),
        tied=int(stack.value("ASTRNUM") or 0),
        tie=None if tie is None else tie * 1000,
        rotation=stack.value("ROTERR"),
        explained=1000 * float(np.hypot(stack.value("ASTRERR") or 0.0, CENTRE)),
        sky=stack.value("SKYSIGMA"),
        flat_lost=stack.text("FLATLOST"),
    )


def pixel_scale(stack: StackFile) -> float | None:
    """Arcsec per pixel by the area of a pixel on the sky."""
    matrix = [stack.value(key) for key in ("CD1_1", "CD1_2", "CD2_1", "CD2_2")]
    if matrix[0] is None or matrix[3] is None:
        return None
    area = matrix[0] * matrix[3] - (matrix[1] or 0.0) * (matrix[2] or 0.0)
    return float(abs(area) ** 0.5 * 3600) or None


def _good_stars(stack: StackFile) -> np.ndarray:
    """Which rows of OBJCAT are unflagged, well exposed, and as sharp as stars."""
    catalogue = stack.tables.get("OBJCAT")
    widths, flags = column(catalogue, "FWHM_IMAGE"), column(catalogue, "FLAGS")
    flux, error = column(catalogue, "FLUX_APER"), column(catalogue, "FLUXERR_APER")
    if widths is None or flags is None or flux is None or error is None or not len(widths):
        return np.zeros(0 if catalogue is None else len(catalogue), bool)
    signal = flux.reshape(len(flux), -1)[:, 0] / np.maximum(error.reshape(len(error), -1)[:, 0], 1e-30)
    good = (flags == 0) & (signal > LEAST_SIGNAL) & np.isfinite(widths) & (widths > 1)
    if good.sum() < FEWEST_STARS:
        return np.zeros(len(widths), bool)
    return np.asarray(good & (widths < 2 * np.percentile(widths[good], 25)))


def _percentiles(widths: np.ndarray, scale: float) -> tuple[float | None, float | None, float | None]:
    if len(widths) < FEWEST_STARS:
        return None, None, None
    low, middle, high = np.percentile(widths, (10, 50, 90)) * scale
    return float(low), float(middle), float(high)


def typical_noise(stack: StackFile) -> float | None:
    """The median noise of a usable pixel in electrons."""
    variance, mask = stack.thin.variance[::2, ::2], stack.thin.mask[::2, ::2]
    known = variance[(variance > 0) & ((mask & dq.UNUSABLE) == 0)]
    return float(np.sqrt(np.median(known))) if known.size else None


def _depth(stack: StackFile, noise: float | None, width: float | None) -> float | None:
    """Five times the noise of an aperture of one FWHM in radius, which holds most of a star's core."""
    if noise is None or width is None:
        return None
    return 5 * noise * float(np.sqrt(np.pi) * width) * (stack.value("NOISCORR") or 1.0)


def _noise_ratio(stack: StackFile) -> float | None:
    """Scatter of pixels over sqrt(VAR), the larger one of that along rows and along columns.

    What differs from row to row, as the noise of reading rows does, shows along columns alone.
    """
    ratios = [
        _scatter_along_rows(data, variance)
        for data, variance in (
            (stack.thin.data, stack.thin.variance),
            (stack.thin.data.T, stack.thin.variance.T),
        )
    ]
    known = [ratio for ratio in ratios if ratio is not None]
    return max(known, default=None)


def _scatter_along_rows(data: F32, variance: F32) -> float | None:
    """Scatter of neighbouring pixels' second differences over sqrt(VAR): light of any smooth kind cancels.

    Differences of four pixels apart are free of the correlation that resampling puts between neighbours.
    """
    step = 2  # among every other pixel
    left, middle, right = (data[:, start : start - 2 * step or None] for start in (0, step, 2 * step))
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled = (middle - 0.5 * (left + right)) / np.sqrt(1.5 * variance[:, step:-step])
    usable = scaled[np.isfinite(scaled)]
    if usable.size < 100:
        return None
    low, high = np.percentile(usable, (15.87, 84.13))
    return float((high - low) / 2)


def _alignment(stack: StackFile) -> tuple[float | None, float | None]:
    """Median and largest residual, mas. One or two stars fit any shift and rotation: theirs say nothing."""
    table = stack.tables.get("EXPOSURES")
    residuals, matches = column(table, "rms"), column(table, "matches")
    if residuals is None or matches is None:
        return None, None
    known = 1000 * residuals[np.isfinite(residuals) & (matches >= FEWEST_STARS)]
    return (float(np.median(known)), float(known.max())) if len(known) else (None, None)


def _strangeness(stack: StackFile) -> float | None:
    found, usual = stack.value("PHOTZP0"), nominal_zeropoint(describe(stack.header, ()))
    return None if found is None or usual is None else found - usual


def _unaligned(stack: StackFile) -> int:
    matches = column(stack.tables.get("EXPOSURES"), "matches")
    return int((matches == 0).sum()) if matches is not None and len(matches) > 1 else 0


def _evenness(stack: StackFile) -> float | None:
    if stack.seconds is None:
        return None
    seen = stack.seconds[stack.seconds > 0]
    return float((seen >= 0.5 * seen.max()).mean()) if seen.size else None


@dataclass(frozen=True)
class Listing:
    """A table as text: the names of its columns, and its rows."""

    heads: list[str]
    rows: list[list[str]]


#: Column of EXPOSURES, what it is called, and how a value is written; shown where the product has it.
COLUMNS: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("filename", "file", str),
    ("ut", "UT", lambda value: str(value)[:19].replace("T", " ")),
    ("seconds", "seconds", "{:g}".format),
    ("fwhm", "FWHM (mas)", lambda value: f"{value * 1000:.0f}"),
    ("ellipticity", "ellipticity", "{:.2f}".format),
    ("strehl", "Strehl", "{:.1%}".format),
    ("sky", "sky (electrons)", "{:.0f}".format),
    ("transparency", "transparency", "{:.3f}".format),
    ("weight", "weight", "{:.3f}".format),
    ("shift_east", "east (arcsec)", "{:+.3f}".format),
    ("shift_north", "north (arcsec)", "{:+.3f}".format),
    ("matches", "stars", str),
    ("rms", "residual (mas)", lambda value: f"{value * 1000:.2f}"),
    ("model", "model", str),
    ("outlier", "out of line", str),
)


def list_exposures(stack: StackFile) -> Listing:
    """What each exposure of the stack was like."""
    table = stack.tables.get("EXPOSURES")
    shown = [(title, write, column(table, name)) for name, title, write in COLUMNS]
    known = [(title, write, values) for title, write, values in shown if values is not None]
    rows = [
        [write(values[row]) for _, write, values in known]
        for row in range(0 if table is None else len(table))
    ]
    return Listing([title for title, _, _ in known], rows)


def list_bits(stack: StackFile) -> Listing:
    """The part of the picture that each bit of the mask flags, of every other pixel along x and y."""
    mask = stack.thin.mask
    parts = {
        f"{bit}: {name}": float(np.count_nonzero(mask & bit)) / mask.size for bit, name in dq.NAMES.items()
    }
    return Listing(
        ["bit", "part of the picture"], [[name, f"{part:.3%}"] for name, part in parts.items() if part]
    )


def tell_made(stack: StackFile) -> list[str]:
    """What the stack is, in a few words each: exposures and dates, size, sources."""
    height, width = stack.shape
    told = [f"{width} × {height} pixels" + _of_scale(pixel_scale(stack))]
    if times := _times(stack):
        told.insert(0, times + _dates(stack))
    catalogue = stack.tables.get("OBJCAT")
    return [*told, f"{len(catalogue)} sources"] if catalogue is not None else told


def _times(stack: StackFile) -> str:
    """Exposures, coadds and seconds where they make up the total; else their number and the total."""
    count, seconds, total = (stack.value(key) for key in ("NCOMBINE", "EXPTIME", "TEXPTIME"))
    if not count or not seconds:
        return ""
    coadds = stack.value("COADDS") or 1
    each = f"{count:g} × {coadds:g} coadds of {seconds:g} s" if coadds > 1 else f"{count:g} × {seconds:g} s"
    if total is None:
        return each
    if abs(count * coadds * seconds - total) > 0.01 * total:
        return f"{count:g} exposures, {total:g} s in all"
    return f"{each} = {total:g} s" if coadds > 1 else each


def _of_scale(scale: float | None) -> str:
    return f" of {scale * 1000:.2f} mas" if scale else ""


def _dates(stack: StackFile) -> str:
    """The first and the last UT date of the exposures."""
    times = column(stack.tables.get("EXPOSURES"), "ut")
    if times is None or not len(times):
        return ""
    dates = sorted({str(time)[:10] for time in times})
    return f", {dates[0]}" if len(dates) == 1 else f", {dates[0]} to {dates[-1]}"


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


def judge_stack(
    quality: Quality, *, corrected: bool, warnings: int, about: int, left_out: int
) -> list[Verdict]:
    """All judgements of a stack; ``corrected`` says that adaptive optics is expected to have worked.

    ``warnings``: how many there are, ``about``: of these about this stack; ``left_out``: its exposures.
    """
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
        _judge_warnings(warnings, about),
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
    value = f"{quality.seconds:.0f} s"
    if left_out:
        light, remedy = LOOK, f"Read below why {left_out} exposures were left out."
        value += f", {quality.exposures} of {(quality.exposures or 0) + left_out} exposures"
    # Where only windows of the arrays were read, little of the picture has data and nothing is lost.
    elif quality.flat_lost or (warned and quality.covered < COVERED):
        lost = f"The flat has no data in array {quality.flat_lost}. " if quality.flat_lost else ""
        light = LOOK
        remedy = f"{lost}Little of the picture has data: read the warnings below for what was lost."
    return Verdict("Exposure", value, light, sentence, remedy)


def _judge_sharpness(quality: Quality, corrected: bool) -> Verdict:
    if quality.fwhm is None:
        sentence = "The catalogue has too few good stars to measure a width."
        remedy = "Judge by the stars in the picture above, and by the widths of single exposures below."
        return Verdict("Sharpness", "not measured", UNKNOWN, sentence, remedy)
    sentence = (
        f"Median FWHM of {quality.stars} stars; 80 % lie between "
        f"{(quality.sharpest or 0) * 1000:.0f} and {(quality.widest or 0) * 1000:.0f} mas."
    )
    light, remedy = GOOD, ""
    if corrected and quality.fwhm > SEEING:
        light = BAD
        remedy = "Natural seeing: the AO loop was open, or the alignment failed. Look at single exposures."
    elif corrected and quality.fwhm > SHARP:
        light = LOOK
        remedy = (
            "Wider than a good AO correction gives. See the FWHM of single exposures; "
            "a stack of the sharpest half may be better (stackFrames:reject_fwhm)."
        )
    return Verdict("Sharpness", f"{quality.fwhm * 1000:.0f} mas", light, sentence, remedy)


def _judge_depth(quality: Quality) -> Verdict:
    if quality.depth is None:
        sentence = "Depth needs the width of stars and the variance."
        return Verdict("Depth", "not measured", UNKNOWN, sentence, "See the map of the noise below instead.")
    limit = quality.limit(quality.depth)
    value = f"{quality.depth:.0f} e-" if limit is None else f"{limit:.2f} mag"
    sentence = (
        f"5 sigma for a point source of {quality.depth:.0f} e- per exposure "
        f"in an aperture of one FWHM in radius; noise per pixel {quality.noise:.2f} e-."
    )
    if quality.complete is not None:
        found = quality.limit(quality.complete)
        light = f"{quality.complete:.0f} e-" if found is None else f"{found:.2f} mag"
        value = f"{value}, 90 % of stars to {light}"
        sentence += (
            f" The catalogue is 90 % complete for stars of {quality.complete:.0f} e- total flux; "
            "the table COMPLETENESS has the fraction at other magnitudes."
        )
    return Verdict("Depth (5 sigma)", value, GOOD, sentence)


def _judge_noise(quality: Quality) -> Verdict:
    ratio = quality.noise_ratio
    if ratio is None:
        sentence = "Too few pixels to compare the scatter with VAR."
        remedy = "Look why so little of the picture has data."
        return Verdict("Noise", "not measured", UNKNOWN, sentence, remedy)
    sentence = f"Pixel-to-pixel scatter is {ratio:.2f} times that of the VAR plane (1: exact)."
    light, remedy = GOOD, ""
    if not 0.7 <= ratio <= 1.5:
        light = BAD
        remedy = "Errors from VAR are wrong: look for sky residuals before using them."
    elif not 0.85 <= ratio <= 1.15:
        light = LOOK
        remedy = "Usual in a crowded field, where stars count as scatter; else scale errors by it."
    return Verdict("Noise", f"{ratio:.2f}", light, sentence, remedy)


def _judge_sky(quality: Quality) -> Verdict:
    if quality.sky is None:
        sentence = "The product does not state the uncertainty of its sky level."
        return Verdict("Sky", "not known", UNKNOWN, sentence, "Look at the background far from all objects.")
    value = f"± {quality.sky:.1f} e-"
    sentence = f"Uncertainty of the subtracted sky level {quality.sky:.1f} e- (1 sigma)."
    if quality.sky <= LEVELLED:
        return Verdict("Sky", value, GOOD, sentence)
    remedy = "Extended emission fainter than this is lost in the sky: do not use it for surface photometry."
    return Verdict("Sky", value, LOOK, sentence, remedy)


def _judge_alignment(quality: Quality) -> Verdict:
    if quality.unaligned:
        sentence = "Exposures that share no stars with the others, placed by their headers."
        remedy = "Check a star where they overlap: if it is double or elongated, stack without them."
        return Verdict("Alignment", f"{quality.unaligned} by header", LOOK, sentence, remedy)
    if quality.residual is None:
        sentence = "A single exposure, or too few common stars to measure residuals."
        remedy = "Check that stars are round and single in the picture above."
        return Verdict("Alignment", "not measured", UNKNOWN, sentence, remedy)
    sentence = f"Median residual of the exposures' stars {quality.residual:.2f} mas rms per axis."
    worst = quality.worst or quality.residual
    if worst > ALIGNED:
        sentence += f" Worst exposure {worst:.1f} mas."
    light, remedy = GOOD, ""
    if quality.residual > SMEARED:
        light = BAD
        remedy = "The stack is blurred by it: check its stars, and stack the exposures that agree."
    elif quality.residual > ALIGNED or worst > SMEARED:
        light = LOOK
        remedy = "Worse than the instrument allows: see the residuals of each exposure below."
    return Verdict("Alignment", f"{quality.residual:.2f} mas", light, sentence, remedy)


def _judge_positions(quality: Quality) -> Verdict:
    error = quality.position_error
    if error is None:
        sentence, remedy = "The catalogue has too few good stars.", "See ERR_POS of single stars in OBJCAT."
        return Verdict("Positions", "not measured", UNKNOWN, sentence, remedy)
    of = f"{quality.stars} stars"
    sentence = f"Median random error of a star's position relative to its neighbours, {of}."
    return Verdict("Positions", f"{error:.2f} mas", GOOD, sentence)


def _judge_coordinates(quality: Quality) -> Verdict:
    turned = "" if quality.rotation is None else f" Rotation uncertainty {quality.rotation:.2f} deg."
    if not quality.catalogue:
        sentence = "Absolute astrometry from the telescope pointing only, which can be off by arcseconds."
        remedy = "Repeat the run where Gaia can be reached, or give a table of positions with --catalog FILE."
        return Verdict("Coordinates", "by pointing", LOOK, sentence + turned, remedy)
    name, tie = quality.catalogue, quality.tie
    rms = f", {tie:.1f} mas rms" if tie is not None else ""
    sentence = f"Tied to {name} by {quality.tied} stars{rms}.{turned}"
    if quality.tied < TELLING or tie is None:
        remedy = "Too few stars to check each other: compare one with known coordinates in the picture above."
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
    sentence = "Vega magnitude of 1 e-/s."
    error, light, remedy = quality.zeropoint_error, GOOD, ""
    if quality.strange is not None and abs(quality.strange) > POSSIBLE:
        sentence += f" {quality.strange:+.2f} mag from the instrument's nominal zeropoint."
        light = BAD
        remedy = "Too far for a clear night: check which stars it is from, and for clouds."
    elif error is None or error > CALIBRATED:
        light = LOOK
        remedy = "Larger error than from a good standard: see the decisions below for what limits it."
    elif quality.carried:
        sentence += " From the standard; the transparency since then is unknown and not in the error."
        light = LOOK
        remedy = (
            "Give magnitudes of stars in the field with --phot-catalog FILE, which tell the transparency."
        )
    value = f"{quality.zeropoint:.3f}" + (f" ± {error:.3f} mag" if error is not None else " mag")
    return Verdict("Zeropoint", value, light, sentence, remedy)


def _judge_warnings(warnings: int, about: int) -> Verdict:
    if not warnings:
        return Verdict("Warnings", "none", GOOD, "No warnings.")
    remedy = "Read them below: each says what was found and what was done instead."
    sentence = f"{warnings} warning{'' if warnings == 1 else 's'}, {about} of them about this stack."
    return Verdict("Warnings", str(warnings), LOOK, sentence, remedy)
