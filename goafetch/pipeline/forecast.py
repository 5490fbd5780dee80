"""What a run of a program would take: bytes to fetch, disk, minutes; told before anything is fetched."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

from goafetch.archive.download import DownloadDecision, FetchReport
from goafetch.events import Notify, listener

#: Seconds that the reduction of 67 MB of raw science takes on one core, and megabytes a second of a network:
#: the tutorial's 13 exposures of whole arrays take 33 s on two; and what an archive across an ocean gives.
SECONDS, WHOLE, RATE = 4.0, 67e6, 5.0
#: Bytes of a product over those of its raw file, and of a stack (29 planes and tables) over one raw file.
PRODUCT, STACK = 2.5, 25.0


def tell_forecast(fetched: FetchReport, folder: Path, workers: int, notify: Notify) -> None:
    """Say what a program's exposures are, and what their fetch and reduction would take; nothing where all
    of it is here, for then the plan tells more.

    ``folder``: where the workspace is to be, or is. From the archive's records alone: no header was read.
    """
    tell, todo = listener(notify), [each for each in fetched.planned if each.needed]
    if not todo:
        return
    science = [each for each in fetched.planned if each.record.observation_class in ("science", "partnerCal")]
    science = [each for each in science if each.record.observation_type == "OBJECT"]
    groups = Counter(map(_group, science))
    for (name, filter_name, seconds), count in groups.items():
        tell("program_group", object=name, filter=filter_name, seconds=seconds, exposures=count)
    present = len([each for each in fetched.planned if each.word == "present"])
    moved = sum(each.moved for each in todo) / 1e6
    tell("to_fetch", files=len(todo), size=moved, present=present, rate=RATE, minutes=moved / RATE / 60)
    stacks = {(name, filter_name) for name, filter_name, _ in groups}
    sizes = [each.record.data_size or each.record.file_size for each in science]
    raw = sum(each.needed for each in todo) / 1e9
    products = (PRODUCT * sum(sizes) + STACK * len(stacks) * max(sizes, default=0)) / 1e9
    there = next(each for each in (folder, *folder.absolute().parents) if each.is_dir())
    free = shutil.disk_usage(there).free / 1e9
    tell("disk_needed", needed=raw + products, free=free, raw=raw, products=products)
    if raw + products > free:
        tell("disk_short", needed=raw + products, free=free)
    minutes = max(SECONDS * sum(sizes) / WHOLE / workers / 60, 0.1)
    tell("time_needed", minutes=minutes, exposures=len(science), workers=workers, seconds=SECONDS)


def _group(each: DownloadDecision) -> tuple[str, str, float]:
    record = each.record
    return record.object or "unknown", record.filter_name or "unknown", record.exposure_time or 0.0
