"""The step that measures the sources of every frame."""

from __future__ import annotations

from collections.abc import Sequence

from reducer.frame import Context, Files, FrameRef
from reducer.sources import detect_sources
from reducer.step import step
from reducer.types import Table


@step(suffix="_sourcesDetected", cannot_skip="exposures are aligned by the sources that it finds")
def detectSources(frames: Sequence[FrameRef], context: Context) -> list[FrameRef]:
    """Measure the sources of every frame, array by array; they go with it as ``sources``."""
    tasks = [(context.disk, frame, chip) for frame in frames for chip in range(len(frame.chips))]
    tables = context.map(measure_chip, tasks)
    found = [frame.with_(sources=tuple(next(tables) for _ in frame.chips)) for frame in frames]
    for frame in found:
        counts = ", ".join(str(len(table)) for table in frame.sources)
        context.notify("info", text=f"{frame.path.name}: {counts} sources on its arrays")
    return found


def measure_chip(task: tuple[Files, FrameRef, int]) -> Table:
    """The sources of one array of a frame (see ``detect_sources``)."""
    files, frame, index = task
    chip = files.read_chip(frame, index)
    return detect_sources(chip.data, chip.variance, chip.mask, frame.instrument.widths)
