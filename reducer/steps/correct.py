"""The detector steps, from addDQ to flatCorrect, in one pass over each frame."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from reducer import dq
from reducer.align.wcs import descriptors_of, positions
from reducer.detector import NO_RESPONSE, ArrayReadout, Response, correct
from reducer.errors import BadInput, BadParameter, MissingCalibration
from reducer.frame import Context, Files, FrameRef
from reducer.headers.targets import link
from reducer.keywords import Region, region
from reducer.masks import Calibrations, Place, known_bits, read_counts, read_response
from reducer.products import OFF_TARGET, PROCESSED_BPM, PROCESSED_DARK, PROCESSED_FLAT
from reducer.provenance import plan_product
from reducer.sky.blind import STEP, WHOLE, Cells, cells_of, find_blind, hide_cells
from reducer.sky.objects import Bool
from reducer.sky.readout_offsets import mean_reference_pixels
from reducer.step import Step, step
from reducer.steps.prepare import accept, like_dark
from reducer.types import F32, F64, U16, Header, Table

# --- what earlier exposures left ---------------------------------------------------------------------

#: Electrons and mask bits, each in one dimension, at an index of an array.
Look = Callable[[Any], tuple[F32, U16]]

#: More columns than any array has: a pixel of the full array is y * STRIDE + x.
STRIDE = 1 << 15
#: Fewest saturated pixels whose mean afterglow can be judged; fewer are flagged unseen.
FEWEST = 30
#: Afterglow, in standard deviations of one pixel, below which it is left in.
FAINT = 0.3


@dataclass(frozen=True)
class SaturatedBefore:
    """The pixels an exposure saturated, and when it ended (seconds).

    ``pixels``: array number -> places on the full array, y * STRIDE + x.
    """

    start: float
    end: float
    pixels: Mapping[int, Pixels]

    @staticmethod
    def of(frame: FrameRef, pixels: Mapping[int, Pixels]) -> SaturatedBefore:
        """The glow that a frame leaves."""
        described = descriptors_of(frame)
        when = described.ut_datetime
        start = when.timestamp() if when else 0.0
        return SaturatedBefore(start, start + (described.exposure_time or 0.0) * described.coadds, pixels)


def saturated_pixels(raw: F32, bits: U16, region: Region, saturation: float) -> Pixels:
    """Places, on the full array, of the pixels that saturated and are not bad anyway.

    ``raw``: (ny, nx) counts, ``bits`` as well; returns (n,), flat indexes.
    """
    bright = np.flatnonzero(raw >= np.float32(saturation))
    y, x = np.divmod(bright[bits.reshape(-1)[bright] & dq.UNUSABLE == 0], raw.shape[1])
    pixels: Pixels = ((y + region.y1) * STRIDE + x + region.x1).astype(np.int32)
    return pixels


def earlier_glows(
    frame: FrameRef, frames: Sequence[FrameRef], glows: Sequence[SaturatedBefore], window: float
) -> tuple[SaturatedBefore, ...]:
    """The glows of exposures that ended at most ``window`` seconds before a frame began."""
    own = next(glow for other, glow in zip(frames, glows, strict=True) if other is frame)
    return tuple(
        glow
        for glow in glows
        if glow is not own and glow.start < own.start and own.start - glow.end <= window
    )


def glowing_pixels(look: Look, glows: Sequence[SaturatedBefore], array: int, region: Region) -> Pixels:
    """Flat indexes, in the region, of pixels of earlier saturation that stand out above their surroundings.

    ``look``: gives electrons and mask bits at an index of the array. Each earlier exposure is judged by the
    median excess of its pixels over the array's median: where nothing glows nothing is lost.
    """
    data, mask = look((slice(None, None, 8), slice(None, None, 8)))
    good = data[mask & dq.UNUSABLE == 0]
    found = np.empty(0, np.int32)
    if not good.size:
        return found
    low, middle, high = np.percentile(good, (25, 50, 75))
    noise = 0.7413 * (high - low)
    for glow in glows:
        pixels = np.setdiff1d(_inside(glow.pixels.get(array, found), region), found)
        data, mask = look(np.divmod(pixels, region.shape[1]))
        fresh = mask & (dq.UNUSABLE | dq.NON_LINEAR) == 0
        excess = float(np.median(data[fresh]) - middle) if fresh.any() else 0.0
        if fresh.sum() < FEWEST or excess > FAINT * noise:
            found = np.union1d(found, pixels[fresh])
    return found


def _inside(pixels: Pixels, region: Region) -> Pixels:
    """Places on the full array as flat indexes of a region; the ones outside it are left out."""
    y, x = pixels // STRIDE - region.y1, pixels % STRIDE - region.x1
    height, width = region.shape
    within = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    inside: Pixels = y[within] * np.int32(width) + x[within]
    return inside


# --- pixels that are made when they are read ---------------------------------------------------------

#: Arcsec within which exposures look at the same place when their arrays are compared.
PLACE = 20.0
Pixels = NDArray[np.int32]


@dataclass(frozen=True)
class CorrectedOnRead:
    """Makes a frame's corrected pixels from its raw ones whenever they are read: quicker than a file.

    ``raw``: path of the raw file. By array number: ``readings``, ``glowing`` (flat indexes, in the frame's
    region, of pixels that still show an earlier exposure), ``blind`` (cells that show no sky).
    ``tables``: provenance.
    """

    calibrations: Calibrations
    raw: Path
    readings: Mapping[int, Reading]
    glowing: Mapping[int, Pixels]
    blind: Mapping[int, Bool]
    tables: Mapping[str, Table]

    def pixels(self, frame: FrameRef, index: int, rows: slice | None, variance: bool) -> tuple[F32, F32, U16]:
        """Data, variance and mask of one array of the frame, or of some of its rows."""
        array = int(frame.chips[index]["EXTVER"])
        raw = self.calibrations.disk.read_planes(self.raw, array, rows, variance=False, mask=False)[0]
        data, noise, mask = ArrayView.of(self.calibrations, self.readings[array], rows, variance).correct(raw)
        first = (rows.start if rows else 0) * raw.shape[1]
        glowing = self.glowing.get(array, np.empty(0, np.int32)) - first
        mask.reshape(-1)[glowing[(glowing >= 0) & (glowing < mask.size)]] |= dq.BAD
        if array in self.blind:
            hide_cells(self.blind[array], mask, rows.start if rows else 0)
        return data, noise, mask


# --- the named steps, each a part of the pass ---------------------------------------------------------


@dataclass(frozen=True)
class Pass:
    """What a pass over the pixels does. ``glow``: seconds for which earlier saturated exposures show;
    ``needs_dark``: whether it cannot do without a dark."""

    calibrations: Calibrations
    needs_dark: bool = False
    mask: bool = False
    linearize: bool = False
    electrons: bool = False
    variance: bool = False
    glow: float | None = None


@step(suffix="_dqAdded", needs=(PROCESSED_BPM,))
def addDQ(
    do: Pass,
    context: Context,
    *,
    user_bpm: Annotated[str | None, "file of a mask whose bad pixels are bad too"] = None,
    latency: Annotated[bool, "mask persistence of earlier saturated exposures"] = True,
    time: Annotated[float, "how long persistence lasts", "s"] = 900.0,
) -> Pass:
    """Flag what is bad, saturated or not linear, guide windows, and what earlier exposures left."""
    given = Path(user_bpm).absolute() if user_bpm else None
    calibrations = replace(do.calibrations, user_bpm=given)
    return replace(do, calibrations=calibrations, mask=True, glow=time if latency else None)


@step(suffix="_nonlinearityCorrected")
def nonlinearityCorrect(do: Pass, context: Context) -> Pass:
    """Make the counts linear."""
    return replace(do, linearize=True)


@step(suffix="_ADUToElectrons")
def ADUToElectrons(do: Pass, context: Context) -> Pass:
    """Turn counts into electrons."""
    return replace(do, electrons=True)


@step(suffix="_varAdded")
def addVAR(do: Pass, context: Context) -> Pass:
    """Add the variance of photons and read noise."""
    return replace(do, variance=True)


@step(suffix="_darkCorrected", needs=(PROCESSED_DARK,))
def darkCorrect(
    do: Pass,
    context: Context,
    *,
    dark: Annotated[str | None, "file of the dark, in place of the one that fits"] = None,
    do_cal: Annotated[
        Literal["procmode", "skip"], "skip: subtract none, which marks the product"
    ] = "procmode",
) -> Pass:
    """Subtract the dark, with its variance and mask."""
    if do_cal == "skip":
        context.notify("no_dark_asked")
        return do
    found = Path(dark).absolute() if dark else context.dark
    if found is None and do.needs_dark:
        raise MissingCalibration(
            "no dark for these frames",
            "a `_dark` of their exposure time",
            "make one with makeProcessedDark, or set darkCorrect:do_cal=skip",
        )
    return replace(do, calibrations=replace(do.calibrations, dark=found))


@step(suffix=OFF_TARGET, needs=(PROCESSED_FLAT,))
def flatCorrect(
    do: Pass,
    context: Context,
    *,
    flat: Annotated[str | None, "file of the flat, in place of the one that fits"] = None,
    do_flat: Annotated[bool, "divide by the flat; False marks the product"] = True,
) -> Pass:
    """Divide by the flat, with its variance and mask."""
    if not do_flat:
        context.notify("no_flat_asked")
        return do
    found = Path(flat).absolute() if flat else context.flat
    if found is None:
        raise MissingCalibration(
            "no flat for these frames",
            "a `_flat` of the filter",
            "make one with makeProcessedFlat, or set flatCorrect:do_flat=False",
        )
    return replace(do, calibrations=replace(do.calibrations, flat=found))


@step(parts=(addDQ, nonlinearityCorrect, ADUToElectrons, addVAR, flatCorrect))
def correctDetector(frames: Sequence[FrameRef], context: Context) -> list[FrameRef]:
    """Raw counts to flat-fielded electrons with variance and mask: ``_flatCorrected``.

    They are intermediate, and made when read, not written, unless asked for; skyCorrect keeps the off-target
    ones.
    """
    return _correct_sky(correctDetector.parts, frames, context)


@step(parts=(addDQ, nonlinearityCorrect, ADUToElectrons, addVAR, darkCorrect, flatCorrect))
def correctDetectorAndDark(frames: Sequence[FrameRef], context: Context) -> list[FrameRef]:
    """The same for exposures of instruments that need a dark, which is subtracted."""
    return _correct_sky(correctDetectorAndDark.parts, frames, context)


def _correct_sky(parts: Sequence[Step], frames: Sequence[FrameRef], context: Context) -> list[FrameRef]:
    passes = passes_of(parts, frames, context)
    do = passes[parts[-1]]
    if do.calibrations.dark is not None:
        frames = like_dark(frames, do.calibrations.dark, context)
    if own := flatCorrect.chosen(frames, context)["flat"]:
        _check_own(frames, Path(own), {"FLAT", "PROCESSED"}, "a master flat", context)
        _tell_other_filter(frames, Path(own), context)
    if own := addDQ.chosen(frames, context)["user_bpm"]:
        _check_own(frames, Path(own), {"BPM"}, "a bad-pixel mask", context)
    known = do.calibrations
    context = replace(context, dark=known.dark, flat=known.flat or context.flat, user_bpm=known.user_bpm)
    surveys = list(context.map(_survey, [(do, frame) for frame in frames]))
    blind = _judge_blind(frames, surveys, context)
    seen = {frame.path: survey for frame, survey in zip(frames, surveys, strict=True)}
    left = accept(frames, context, lambda frame: _refuse_empty(frame, seen[frame.path], blind[frame.path]))
    left = [frame.with_(reference_pixels=seen[frame.path].reference_pixels) for frame in left]
    glows = [seen[frame.path].glow for frame in left]
    return corrected(left, context, passes, glows, blind)


def _check_own(
    frames: Sequence[FrameRef], path: Path, tags: Collection[str], what: str, context: Context
) -> None:
    """BadParameter for a file of the user's that is not what a step takes it for, or another instrument's."""
    master, wanted = context.disk.open_frame(path), frames[0].instrument.name
    needed = f"{what} of {wanted}"
    if master.instrument.name != wanted:
        raise BadParameter(f"{path.name} is from {master.instrument.name}", needed)
    if lacking := sorted(set(tags) - descriptors_of(master).tags):
        raise BadParameter(f"{path.name} is not tagged {' and '.join(lacking)}", needed)


def _tell_other_filter(frames: Sequence[FrameRef], flat: Path, context: Context) -> None:
    """Warn of a flat of another filter, which a user may give."""
    master = descriptors_of(context.disk.open_frame(flat)).filter
    others = sorted({str(descriptors_of(frame).filter) for frame in frames} - {str(master)})
    if others:
        context.notify("flat_of_other_filter", file=flat.name, filter=str(master), usual=others)


def passes_of(parts: Sequence[Step], frames: Sequence[FrameRef], context: Context) -> dict[Step, Pass]:
    """What has been done to the pixels of frames after each part of a pass."""
    is_standard = descriptors_of(frames[0]).observation_class == "partnerCal"
    needs_dark = frames[0].instrument.needs(PROCESSED_DARK, "standard" if is_standard else "science")
    do, passes = Pass(Calibrations(context.disk, context.bpm), needs_dark), {}
    for part in parts:
        if not part.is_asked("skip_primitive", context):
            do = part.function(do, context, **part.chosen(frames, context))
        passes[part] = do
    return passes


def corrected(
    frames: Sequence[FrameRef],
    context: Context,
    passes: Mapping[Step, Pass],
    glows: Sequence[SaturatedBefore],
    blind: Mapping[Path, Mapping[int, Bool]],
) -> list[FrameRef]:
    """The frames after the last part of a pass; what is asked for after others is written.

    ``blind``: by array (rows, columns) of cells.
    """
    made, last = list(frames), list(passes)[-1]
    for part, do in passes.items():
        is_asked = part.is_asked("write_outputs", context)
        if is_asked or part is last:
            made = _corrected(frames, context, do, part.suffix, glows, blind)
        if is_asked:
            # What goes on is made of the raw pixels all the same: skyCorrect writes the skies' files anew.
            for frame in context.map(_save_frame, [(context.disk, each, context.folder) for each in made]):
                context.notify("made", path=frame.path)
    return made


def _corrected(
    frames: Sequence[FrameRef],
    context: Context,
    do: Pass,
    suffix: str,
    glows: Sequence[SaturatedBefore],
    blind: Mapping[Path, Mapping[int, Bool]],
) -> list[FrameRef]:
    """The frames as they are after a pass, under a suffix."""
    tasks = [
        (do, frame, () if do.glow is None else earlier_glows(frame, frames, glows, do.glow))
        for frame in frames
    ]
    keywords = _keywords(do.calibrations)
    if PROCESSED_DARK in frames[0].instrument.calibrations:
        keywords["DARKIM"] = do.calibrations.dark.name if do.calibrations.dark else "none"
    stamps = {"DARKCORR": do.calibrations.dark, "FLATCORR": do.calibrations.flat}
    made = []
    for frame, glowing in zip(frames, context.map(_judge_glows, tasks), strict=True):
        target = plan_product(
            context,
            frame,
            suffix,
            [frame],
            stamps=[stamp for stamp, applied in stamps.items() if applied],
            keywords=keywords,
        )
        readings = {
            int(chip["EXTVER"]): Reading.of(frame, index, do) for index, chip in enumerate(frame.chips)
        }
        source = CorrectedOnRead(
            do.calibrations, frame.path, readings, glowing, blind[frame.path], target.tables
        )
        chips = tuple(_described(frame, index, do) for index in range(len(frame.chips)))
        made.append(
            frame.with_(
                path=target.path,
                header=target.header,
                chips=chips,
                source=source,
                dark=do.calibrations.dark,
            )
        )
    return made


def _keywords(calibrations: Calibrations) -> dict[str, Any]:
    keywords = {
        "FLATIM": calibrations.flat.name if calibrations.flat else "none",
        "BPMIM": calibrations.bpm.name if calibrations.bpm else "none",
        **({"USERBPM": calibrations.user_bpm.name} if calibrations.user_bpm else {}),
    }
    if calibrations.flat:
        lost = calibrations.disk.open_frame(calibrations.flat).header.get("FLATLOST")
        keywords |= {"FLATLOST": lost} if lost else {}
    return keywords


def _described(frame: FrameRef, index: int, do: Pass) -> Header:
    """An array's header as it is after the corrections: unit, gain 1, the read noise of all coadds together,
    and saturation levels in electrons."""
    header = frame.chips[index].copy()
    levels = frame.instrument.stored_levels(frame.header, int(header["EXTVER"]))
    header["BUNIT"] = "electron" if do.electrons else "adu"
    header["GAIN"] = 1.0 if do.electrons else levels.gain
    noise = descriptors_of(frame).read_noise[index]
    if noise is not None:
        header["RDNOISE"] = noise
    if do.electrons and do.linearize:
        for key, counts in (("SATLEVEL", levels.saturation), ("NONLINEA", levels.non_linear)):
            header[key] = round(levels.electrons(counts), 1)
    return header


# --- tasks -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reading:
    """How and where an array of a frame was read."""

    place: Place
    exposure: ArrayReadout

    @staticmethod
    def of(frame: FrameRef, index: int, do: Pass) -> Reading:
        """The reading of an array that a pass is to correct."""
        place = Place.of(frame, index)
        levels = frame.instrument.stored_levels(frame.header, place.array.number)
        coadds = descriptors_of(frame).coadds
        return Reading(place, ArrayReadout(levels, coadds, do.mask, do.linearize, do.electrons, do.variance))

    @property
    def noise(self) -> float:
        """The noise of reading a pixel, counts of the average coadd."""
        levels = self.exposure.levels
        return levels.read_noise / levels.gain / float(np.sqrt(self.exposure.coadds))


@dataclass(frozen=True)
class ArrayView:
    """What turns the raw counts of one array, or of some places in it, into electrons."""

    exposure: ArrayReadout
    static: U16 | None
    dark: Response
    response: Response

    @staticmethod
    def of(
        calibrations: Calibrations, reading: Reading, rows: slice | None = None, variance: bool = True
    ) -> ArrayView:
        """The view of an array, or of some of its rows."""
        exposure = replace(reading.exposure, variance=reading.exposure.variance and variance)
        static = known_bits(calibrations, reading.place)[rows or slice(None)] if exposure.mask else None

        def read(path: Path | None) -> Response:
            if path is None:
                return NO_RESPONSE
            return read_response(calibrations.disk, path, reading.place, rows, exposure.variance)

        return ArrayView(exposure, static, read(calibrations.dark), read(calibrations.flat))

    def at(self, where: Any) -> ArrayView:
        """The view of places without variance: one row, at these indexes."""

        def there(plane: Any) -> Any:
            return np.ascontiguousarray(plane[where].reshape(1, -1)) if plane.size else plane

        static = None if self.static is None else there(self.static)
        masters = (Response(there(m.data), m.variance, there(m.mask)) for m in (self.dark, self.response))
        return ArrayView(self.exposure, static, *masters)

    def thinned(self) -> ArrayView:
        """The view of every fourth pixel of every fourth row."""

        def thin(plane: Any) -> Any:
            return np.ascontiguousarray(plane[::STEP, ::STEP])

        masters = (Response(*map(thin, (m.data, m.variance, m.mask))) for m in (self.dark, self.response))
        return ArrayView(self.exposure, None if self.static is None else thin(self.static), *masters)

    def correct(self, raw: F32) -> tuple[F32, F32, U16]:
        """Data, variance and mask of the raw counts that are viewed, in two dimensions."""
        return correct(raw, self.exposure, static=self.static, dark=self.dark, response=self.response)[:3]


@dataclass(frozen=True)
class RawSurvey:
    """What a look at the raw pixels shows: by array number how many are no numbers, what its cells show, and
    the reference rows; and the saturated ones."""

    lost: Mapping[int, int]
    cells: Mapping[int, Cells]
    reference_pixels: Mapping[int, F64]
    glow: SaturatedBefore


def _survey(task: tuple[Pass, FrameRef]) -> RawSurvey:
    do, frame = task
    calibrations = do.calibrations
    lost, cells, reference_pixels, saturated = {}, {}, {}, {}
    for index in range(len(frame.chips)):
        reading = Reading.of(frame, index, do)
        place, levels = reading.place, reading.exposure.levels
        array, where = place.array.number, place.where
        raw = read_counts(calibrations.disk, frame, index)
        lost[array] = raw.size - int(np.count_nonzero(np.isfinite(raw)))
        thin = np.ascontiguousarray(raw[::STEP, ::STEP])
        data, _, mask = ArrayView.of(calibrations, reading, variance=False).thinned().correct(thin)
        cells[array] = cells_of(data, mask, thin, reading.noise, where.x1)
        bits = known_bits(calibrations, place)
        saturated[array] = saturated_pixels(raw, bits, where, levels.saturation)
        reference_pixels[array] = mean_reference_pixels(raw, where, place.array, levels)
    return RawSurvey(lost, cells, reference_pixels, SaturatedBefore.of(frame, saturated))


# --- what shows no sky -------------------------------------------------------------------------------


def _judge_blind(
    frames: Sequence[FrameRef], surveys: Sequence[RawSurvey], context: Context
) -> dict[Path, dict[int, Bool]]:
    """The blind cells of each frame's arrays, where there are any; those and lost pixels are told."""
    places = link(*positions(frames), PLACE)
    times = [descriptors_of(frame).exposure_time or 1.0 for frame in frames]
    cells = [
        {array: each.times(max(times) / time) for array, each in survey.cells.items()}
        for survey, time in zip(surveys, times, strict=True)
    ]
    found, sky = find_blind(cells, [int(place) for place in places])
    for array in sorted({array for blind in found for array in blind}):
        shares = {
            frame.path.name: float(blind[array].mean())
            for frame, blind in zip(frames, found, strict=True)
            if array in blind and blind[array].any()
        }
        for whole, fact in ((True, "array_blind"), (False, "array_partly_blind")):
            named = {name: share for name, share in shares.items() if (share > WHOLE) == whole}
            if named:
                context.notify(fact, array=array, files=[*named], area=max(named.values()), level=sky)
    for frame, survey in zip(frames, surveys, strict=True):
        for array, number in survey.lost.items():
            if number:
                context.notify("not_finite", file=frame.path.name, array=array, pixels=number)
    return {
        frame.path: {array: each for array, each in blind.items() if each.any()}
        for frame, blind in zip(frames, found, strict=True)
    }


def _refuse_empty(frame: FrameRef, survey: RawSurvey, blind: Mapping[int, Bool]) -> FrameRef:
    """Refuse a frame of which no array has data."""
    parts = [
        survey.lost[array] / math.prod(region(chip).shape) > WHOLE
        or (array in blind and float(blind[array].mean()) > WHOLE)
        for array, chip in ((int(chip["EXTVER"]), chip) for chip in frame.chips)
    ]
    if all(parts):
        raise BadInput("no array shows the sky", "light in at least one array", "leave it out")
    return frame


def _judge_glows(
    task: tuple[Pass, FrameRef, Sequence[SaturatedBefore]],
) -> dict[int, Pixels]:
    """By array, the pixels in which earlier exposures still show."""
    do, frame, glows = task
    glowing = {}
    for index, header in enumerate(frame.chips):
        array = int(header["EXTVER"])
        if any(glow.pixels[array].size for glow in glows if array in glow.pixels):
            raw = read_counts(do.calibrations.disk, frame, index)
            reading = Reading.of(frame, index, do)
            view = ArrayView.of(do.calibrations, reading, variance=False)

            def look(where: Any, raw: F32 = raw, view: ArrayView = view) -> tuple[F32, U16]:
                data, _, mask = view.at(where).correct(np.ascontiguousarray(raw[where].reshape(1, -1)))
                return data.reshape(-1), mask.reshape(-1)

            glowing[array] = glowing_pixels(look, glows, array, reading.place.where)
    return glowing


def _save_frame(task: tuple[Files, FrameRef, Path]) -> FrameRef:
    disk, frame, folder = task
    return disk.save_frame(frame, folder)
