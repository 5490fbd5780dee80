"""Static bad-pixel masks from flats and short darks: what responds oddly, what is hot, what is noisy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

import numpy as np

from reducer import dq
from reducer.align.wcs import descriptors_of
from reducer.combine import combine_rows
from reducer.detector import correct
from reducer.errors import BadInput
from reducer.frame import Chip, Context, FrameRef
from reducer.masks import Calibrations, Place, index_of, known_bits, read_counts
from reducer.products import BPM, PROCESSED_BPM
from reducer.provenance import plan_product
from reducer.sky.objects import scatter
from reducer.step import step
from reducer.steps.flat import combine_lamps, odd_response, split_lamps
from reducer.steps.lamps import exposure_of, measure_lamps
from reducer.types import F32, U16


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
    context.disk.write_frame(target.path, target.header, _chips(lit[0], masks), tables=target.tables)
    context.notify("made", path=target.path)
    return [context.disk.open_frame(target.path)]


def _mask(odd: U16, hot: U16 | None) -> U16:
    return odd if hot is None else odd | hot


def _chips(frame: FrameRef, masks: Sequence[U16]) -> Iterator[Chip]:
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
