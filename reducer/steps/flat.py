"""Master flats, lamp on minus lamp off, one normalisation for all arrays; static masks of bad pixels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from scipy import ndimage

from reducer import dq
from reducer.align.wcs import descriptors_of
from reducer.combine import CLIP, combine_rows, median_of
from reducer.detector import Response, correct
from reducer.errors import BadInput, MissingCalibration
from reducer.frame import Chip, Context, FrameRef
from reducer.masks import Calibrations, Place, index_of, known_bits, read_counts, read_response
from reducer.products import BPM, FLAT, PROCESSED_BPM, PROCESSED_DARK
from reducer.provenance import plan_product
from reducer.sky.objects import scatter
from reducer.step import step
from reducer.steps.lamps import Lamp, arrays_of, exposure_of, measure_lamps
from reducer.steps.prepare import like_dark
from reducer.types import F32, U16

#: Part of a flat's array that may be flagged.
MOST_FLAGGED = 0.5
#: Response, relative to the median of all arrays, below which a pixel sees no useful light.
LOWEST_RESPONSE = 0.2
#: Response relative to the surroundings outside which a pixel is bad.
LOCAL_LIMITS = (0.7, 1.4)
#: Change against the previous flat that is worth a warning.
MOVED = 0.01


@step(
    suffix=FLAT,
    needs=(PROCESSED_BPM, PROCESSED_DARK),
    writes=True,
    cannot_skip="the flat is what its recipe is for",
)
def makeFlat(
    frames: Sequence[FrameRef],
    context: Context,
    *,
    lamp_on_only: Annotated[bool, "go on without lamp-off frames; marks the product"] = False,
    lsigma: Annotated[float, "rejection below the median of the frames", "sigma"] = CLIP[0],
    hsigma: Annotated[float, "rejection above the median of the frames", "sigma"] = CLIP[1],
) -> list[FrameRef]:
    """Combine lamp-on and lamp-off frames (or twilights, each scaled) into one `_flat`."""
    lit, dark = split_lamps(frames)
    keywords: dict[str, Any] = {}
    if not dark and not _needs_no_dark(lit):
        by_custom = descriptors_of(lit[0]).filter in lit[0].instrument.lit_alone
        if not by_custom and not lamp_on_only:
            raise MissingCalibration(
                f"{len(lit)} lamp-on frames and no lamp-off frames",
                "lamp-off frames of the same exposure time",
                "add them, or set makeFlat:lamp_on_only=True",
            )
        keywords["FLATKIND"] = "lamp on only"
        context.notify("lamp_on_usual" if by_custom else "lamp_on_only", filter=descriptors_of(lit[0]).filter)
    needs_dark = not dark and lit[0].instrument.needs(PROCESSED_DARK, "flat")
    context = replace(context, dark=_dark_of(lit, context) if needs_dark else None)
    if context.dark is not None:
        lit, keywords["DARKIM"] = like_dark(lit, context.dark, context), context.dark.name
    lamps = measure_lamps(lit, dark, context)
    responses = list(combine_lamps(lamps, context, (lsigma, hsigma)))
    made = _write_flat(lamps, responses, replace(context, flat=None), keywords)
    if context.flat is not None:
        _compare(made, context.flat, context)
    return [made]


def _dark_of(lit: Sequence[FrameRef], context: Context) -> Path:
    """The dark that is subtracted where there are no lamp-off frames, from which it would be gone."""
    if context.dark is None:
        raise MissingCalibration(
            f"{len(lit)} lamp-on frames, no lamp-off frames and no dark",
            "a `_dark` of their exposure time",
            "make one with makeProcessedDark, or add lamp-off frames",
        )
    return context.dark


def _compare(made: FrameRef, previous: Path, context: Context) -> None:
    """Say how far the flat moved since the previous one, given as the context's flat; warn if it did."""
    moved = {}
    known = {int(chip["EXTVER"]) for chip in context.disk.open_frame(previous).chips}
    for index, header in enumerate(made.chips):
        if int(header["EXTVER"]) not in known:
            continue
        old = read_response(context.disk, previous, Place.of(made, index))
        new = context.disk.read_chip(made, index)
        good = ((new.mask | old.mask) & dq.UNUSABLE == 0)[::4, ::4]
        ratio = (new.data[::4, ::4] / np.where(good, old.data[::4, ::4], 1.0))[good]
        noise = (new.variance + old.variance)[::4, ::4][good]
        excess = max(scatter(ratio) ** 2 - float(np.median(noise)), 0.0) ** 0.5
        moved[int(header["EXTVER"])] = (float(np.median(ratio)) - 1.0, excess)
    large = any(abs(level) > MOVED or rms > MOVED for level, rms in moved.values())
    levels, scatters = ({array: each[k] for array, each in moved.items()} for k in (0, 1))
    fact = "flat_changed" if large else "flat_stable"
    context.notify(fact, previous=previous.name, levels=levels, scatters=scatters)


def split_lamps(frames: Sequence[FrameRef]) -> tuple[list[FrameRef], list[FrameRef]]:
    """Frames with light (lamp on, twilight, the closed shutter where that is it) and frames without."""
    lit = [frame for frame in frames if _lamp(frame) == "on" or _has_own_light(frame)]
    dark = [frame for frame in frames if _lamp(frame) == "off" or "DARK" in descriptors_of(frame).tags]
    others = [frame.path.name for frame in frames if frame not in lit and frame not in dark]
    if others:
        raise BadInput(
            f"{', '.join(others)} are neither lamp-on nor lamp-off frames", "flats", "leave them out"
        )
    if not lit:
        raise BadInput("no lamp-on frames", "frames with OBJECT 'Domeflat', a twilight or a GCAL lamp")
    return lit, dark


def _needs_no_dark(lit: Sequence[FrameRef]) -> bool:
    return all(_has_own_light(frame) for frame in lit)


def _has_own_light(frame: FrameRef) -> bool:
    """A twilight, or a flat of the calibration unit that shows light: it needs no lamp-off frames."""
    facts = descriptors_of(frame)
    if "GCALFLAT" in facts.tags and facts.filter in frame.instrument.lit_closed:
        return _lamp(frame) == "on"
    return "FLAT" in facts.tags and not {"DOMEFLAT", "LAMPOFF"} & facts.tags


def _lamp(frame: FrameRef) -> str:
    facts = descriptors_of(frame)
    return frame.instrument.lamp(facts.tags, facts.filter)


# --- combination -------------------------------------------------------------------------------------


def _write_flat(
    lamps: Sequence[Lamp], responses: Sequence[Response], context: Context, keywords: dict[str, Any]
) -> FrameRef:
    inputs = [frame for lamp in lamps for frame in lamp.frames]
    first = inputs[0]
    keywords |= _tell_flagged(first, responses, context)
    keywords |= {f"FLATN{place}": len(lamp.frames) for place, lamp in zip(("ON", "OFF"), lamps, strict=False)}
    target = plan_product(context, first, FLAT, inputs, stamps=("PROCFLAT",), keywords=keywords)
    context.disk.write_frame(target.path, target.header, _chips(first, responses), tables=target.tables)
    context.notify("made", path=target.path)
    return context.disk.open_frame(target.path)


def _tell_flagged(frame: FrameRef, responses: Sequence[Response], context: Context) -> dict[str, Any]:
    """Say which arrays of a flat are mostly flagged, and note it; BadInput if more than half are."""
    flagged = {
        array: float((response.mask & dq.UNUSABLE != 0).mean())
        for array, response in zip(arrays_of(frame), responses, strict=True)
    }
    most = [array for array, part in flagged.items() if part > MOST_FLAGGED]
    if not most:
        return {}
    named = ", ".join(map(str, most))
    area = min(flagged[array] for array in most)
    if 2 * len(most) > len(flagged):
        found = f"the flat has no data in {area:.0%} or more of array {named}"
        raise BadInput(found, "good pixels in most arrays", "take other flats, or another exposure time")
    context.notify("flat_lost", arrays=most, area=area)
    return {"FLATLOST": named}


def combine_lamps(
    lamps: Sequence[Lamp], context: Context, clip: tuple[float, float] = CLIP
) -> Iterator[Response]:
    """Lamp on minus lamp off (or the first alone) of every array, normalised and flagged.

    ``clip``: standard deviations below and above the median beyond which a value is left out.
    """
    calibrations = Calibrations(context.disk, context.bpm, dark=context.dark)
    tasks = [(calibrations, tuple(lamps), int(chip["EXTVER"]), clip) for chip in lamps[0].frames[0].chips]
    return normalise(list(context.map(_combine_array, tasks)))


def _chips(frame: FrameRef, responses: Iterable[Response]) -> Iterator[Chip]:
    for header, response in zip(frame.chips, responses, strict=True):
        header = header.copy()
        del header["BUNIT"]
        yield Chip(response.data, response.variance, response.mask, header)


def _combine_array(task: tuple[Calibrations, Sequence[Lamp], int, tuple[float, float]]) -> Response:
    """Lamp on minus lamp off, or minus a master dark, of one array: electrons, variance, mask."""
    calibrations, lamps, array, clip = task
    sums = [_combine_lamp(calibrations, lamp, array, clip) for lamp in lamps]
    if calibrations.dark is not None:
        first = lamps[0].frames[0]
        place = Place.of(first, index_of(first, array))
        master = read_response(calibrations.disk, calibrations.dark, place)
        sums.append((master.data, master.variance, master.mask))
    data, variance, mask = sums[0]
    for dark, noise, bits in sums[1:]:
        data -= dark
        variance += noise
        mask |= bits
    return Response(data, variance, mask)


def _combine_lamp(
    calibrations: Calibrations, lamp: Lamp, array: int, clip: tuple[float, float]
) -> tuple[F32, F32, U16]:
    frame = lamp.frames[0]
    bits = known_bits(calibrations, Place.of(frame, index_of(frame, array))).copy()
    places = [place for place, arrays in enumerate(lamp.arrays) if array in arrays]
    if not places:
        return (
            np.zeros(bits.shape, np.float32),
            np.zeros(bits.shape, np.float32),
            bits | np.uint16(dq.NO_DATA),
        )
    indexes = [index_of(lamp.frames[place], array) for place in places]
    read = [exposure_of(lamp.frames[place], at) for place, at in zip(places, indexes, strict=True)]

    def fill(layer: int, rows: slice, values: F32, noises: F32, mask: U16) -> None:
        """Electrons of some rows of a frame of the lamp, brought to the common level."""
        place, index = places[layer], indexes[layer]
        raw = read_counts(calibrations.disk, lamp.frames[place], index, rows)
        offsets, scale = lamp.offsets[place][index], lamp.factors[place]
        correct(raw, read[layer], offsets=offsets, scale=scale, into=(values, noises, mask))

    unusable = dq.SATURATED | dq.NO_DATA
    data, variance, used = combine_rows(bits.shape, len(places), fill, unusable, clip)
    bits[used == 0] |= dq.NO_DATA
    return data, variance, bits


# --- normalisation and flags -------------------------------------------------------------------------


def normalise(differences: Sequence[Response]) -> Iterator[Response]:
    """Divide by the median of the good pixels of all arrays together; flag what responds badly.

    One number for all arrays, so that their relative sensitivity stays in the flat. The arrays are divided
    as they are taken: not all of them are in memory twice.
    """
    level = _level(differences)
    flagged = [
        replace(flat, mask=flat.mask | odd_response(flat.data / np.float32(level), flat.mask))
        for flat in differences
    ]
    level = _level(flagged)
    return (
        Response(flat.data / np.float32(level), flat.variance / np.float32(level**2), flat.mask)
        for flat in flagged
    )


def _level(flats: Sequence[Response]) -> float:
    """The median of the good pixels of all arrays; of every fourth one where there are millions.

    BadInput where that is no light.
    """
    step = 2 if flats[0].data.size > 1_000_000 else 1
    samples = [flat.data[::step, ::step][flat.mask[::step, ::step] & dq.UNUSABLE == 0] for flat in flats]
    good = np.concatenate(samples)
    level = median_of(good) if good.size else 0.0
    if not level > 0:
        raise BadInput(f"the flat's median is {level:.0f} electrons", "more light with the lamp on")
    return level


def odd_response(response: F32, mask: U16, limits: tuple[float, float] = LOCAL_LIMITS) -> U16:
    """Bits of pixels that see too little light, or much less or more than their surroundings.

    The surroundings are the median over 25 blocks of 32 pixels, so that a low patch as large as the
    Christmas tree of array 2 (400 by 580 pixels) stands out against what is around it.
    ``response``: (ny, nx), 1 in the median, ``mask`` as well.
    """
    surroundings = _smooth(response, mask & dq.UNUSABLE == 0)
    low, high = limits
    odd = (response < np.float32(low) * surroundings) | (response > np.float32(high) * surroundings)
    blind = response < LOWEST_RESPONSE
    return odd * np.uint16(dq.BAD) | blind * np.uint16(dq.UNILLUMINATED)


def _smooth(response: F32, good: Any, size: int = 32) -> F32:
    height, width = (extent - extent % size for extent in response.shape)
    sample = np.where(good[:height:2, :width:2], response[:height:2, :width:2], np.nan)
    half = size // 2
    blocks = sample.reshape(height // size, half, width // size, half).swapaxes(1, 2)
    cells = blocks.reshape(height // size, width // size, -1)
    seen = np.isfinite(cells).any(axis=2)
    coarse = np.zeros(seen.shape, np.float32)
    if seen.any():
        coarse[seen] = np.nanmedian(cells[seen], axis=1)
        coarse[~seen] = np.median(coarse[seen])
    around = ndimage.median_filter(coarse, size=25, mode="nearest")
    rows = np.minimum(np.arange(response.shape[0]) // size, around.shape[0] - 1)
    columns = np.minimum(np.arange(response.shape[1]) // size, around.shape[1] - 1)
    smooth: F32 = around[np.ix_(rows, columns)].astype(np.float32)
    return smooth


# --- static masks: what responds oddly, what is hot, what is noisy -----------------------------------


@step(suffix=BPM, needs=(PROCESSED_BPM,), writes=True, cannot_skip="the mask is what its recipe is for")
def makeBPM(
    frames: Sequence[FrameRef],
    context: Context,
    *,
    low: Annotated[float, "lowest response of a good pixel against its surroundings"] = 0.5,
    high: Annotated[float, "highest response of a good pixel against its surroundings"] = 1.5,
    dark_sigma: Annotated[float, "deviation of a hot pixel in the dark", "sigma"] = 10.0,
) -> list[FrameRef]:
    """A static mask, `_bpm` (0 is good), from lamp-on and lamp-off flats and, where given, short darks."""
    darks = [frame for frame in frames if "DARK" in descriptors_of(frame).tags]
    lit, unlit = split_lamps([frame for frame in frames if frame not in darks])
    if not unlit and not darks:
        raise BadInput("only lamp-on frames", "lamp-off frames or darks as well", "add them")
    lamps = measure_lamps(lit, unlit, context)
    responses = combine_lamps(lamps, context)
    tasks = [(context, tuple(darks), int(chip["EXTVER"]), dark_sigma) for chip in lit[0].chips]
    hot = [_hot_pixels(task) for task in tasks] if darks else [None] * len(tasks)
    masks = [
        _mask(odd_response(response.data, response.mask, (low, high)), found)
        for response, found in zip(responses, hot, strict=True)
    ]
    target = plan_product(context, lit[0], BPM, frames, stamps=("BPMASK",), keywords={"OBSTYPE": "BPM"})
    context.disk.write_frame(target.path, target.header, _chips_of_mask(lit[0], masks), tables=target.tables)
    context.notify("made", path=target.path)
    return [context.disk.open_frame(target.path)]


def _mask(odd: U16, hot: U16 | None) -> U16:
    return odd if hot is None else odd | hot


def _chips_of_mask(frame: FrameRef, masks: Sequence[U16]) -> Iterator[Chip]:
    nothing = np.zeros((0, 0), np.float32)
    for header, mask in zip(frame.chips, masks, strict=True):
        header = header.copy()
        del header["BUNIT"]
        bad = (mask & dq.UNUSABLE != 0).astype(np.uint16) * np.uint16(dq.BAD)
        yield Chip(nothing, nothing, bad, header)


def _hot_pixels(task: tuple[Context, tuple[FrameRef, ...], int, float]) -> U16:
    """Bits of the pixels of one array whose mean dark signal is far from that of the others."""
    context, darks, array, sigma = task
    place = Place.of(darks[0], index_of(darks[0], array))

    def fill(number: int, rows: slice, values: F32, noises: F32, mask: U16) -> None:
        frame = darks[number]
        index = index_of(frame, array)
        raw = read_counts(context.disk, frame, index, rows)
        correct(raw, exposure_of(frame, index), into=(values, noises, mask))

    dark, _, _ = combine_rows(place.where.shape, len(darks), fill, dq.SATURATED)
    lit = known_bits(Calibrations(context.disk), place) == 0
    away = np.abs(dark - np.median(dark[lit])) / max(scatter(dark[lit]), 1e-6)
    return np.where((away > sigma) & lit, dq.BAD, 0).astype(np.uint16)
