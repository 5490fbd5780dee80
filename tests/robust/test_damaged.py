"""Damaged data among sound data: each file refused by name, reason and remedy, the rest reduced, exit 1."""

from __future__ import annotations

import shutil
from itertools import count
from pathlib import Path

import pytest
from caged import Here, refuse_faults
from mutants import Change, changed_headers
from same_products import differences
from tiny_program import ON_TARGET, SIDE, name_of

from goafetch.config import Settings
from goafetch.events import Event, Refusal
from goafetch.pipeline.cache import Cache
from goafetch.pipeline.run import Request, run_job
from goafetch.plan.sort import sort_frames, unreadable
from goafetch.workspace import Workspace
from reducer.fitsio import key_of
from reducer.select import describe_file

SIZES = (0, *[SIDE * SIDE * 4] * 4)


def damaged(content: bytes) -> dict[str, bytes]:
    """By name of a file: what became of it."""

    minutes = count()

    def headers(*changes: Change) -> bytes:
        # Each at a time of its own: what is a copy of a sound exposure is set aside as such.
        own = Change(0, "UT", f"'05:{next(minutes):02d}:00.0'")
        return changed_headers(content, SIZES, [own, *changes])

    flipped = bytearray(content)
    flipped[2] ^= 0xFF
    end = content.rfind(b"END".ljust(80))
    return {
        "truncated": content[: len(content) // 2],
        "flipped": bytes(flipped),
        "no_end": content[:end] + b" " * 80 + content[end + 80 :],
        "empty": b"",
        "text": b"<!doctype html>Login Required",
        "negative": headers(Change(0, "EXPTIME", "-60.0")),
        "word": headers(Change(0, "EXPTIME", "'sixty'")),
        "giant": headers(Change(1, "NAXIS1", "2147483647")),
        "no_exptime": headers(Change(0, "EXPTIME", None)),
        "no_date": headers(Change(0, "DATE-OBS", None)),
        "no_filter": headers(Change(0, "FILTER1", None)),
        "no_instrument": headers(Change(0, "INSTRUME", None)),
        "no_reads": headers(Change(0, "LNRS", None)),
        "other_size": headers(Change(1, "CCDSEC", "'[1:2048,1:2048]'")),
    }


def test_each_damaged_file_is_refused_and_the_rest_reduced(
    tiny_night: Path, tiny_whole: Path, tmp_path: Path
) -> None:
    raw = tmp_path / "raw"
    shutil.copytree(tiny_night, raw)
    bad = damaged((tiny_night / name_of(ON_TARGET[0])).read_bytes())
    for name, content in bad.items():
        (raw / f"{name}.fits").write_bytes(content)
    told = {}

    def tell(event: Event) -> None:
        refuse_faults(event)
        if isinstance(event, Refusal):
            told[event.name.removesuffix(".fits")] = event.reason

    report = run_job(Request(str(raw), into=tmp_path / "ws"), Settings(), tell, pool=Here())
    assert report.exit_code == 1
    assert set(bad) - set(told) == set()
    without = {name for name in bad if len(told[name]) < 20}
    assert without == set()
    made = [what for what in differences(tiny_whole, tmp_path / "ws") if what.startswith("only")]
    assert all("playdata" in what for what in made), made


@pytest.mark.parametrize("key", ["INSTRUME", "FILTER1", "DATE-OBS", "EXPTIME"])
def test_a_keyword_without_which_nothing_can_be_decided_is_named(
    tiny_night: Path, tmp_path: Path, key: str
) -> None:
    content = (tiny_night / name_of(ON_TARGET[0])).read_bytes()
    file = tmp_path / "a.fits"
    file.write_bytes(changed_headers(content, SIZES, [Change(0, key, None)]))
    facts = describe_file(file)
    assert key in unreadable(facts)
    [left] = sort_frames([(file, facts)])[1]
    assert left.failed


@pytest.mark.parametrize("keep", [0, 100, 3000, 20_000])
def test_a_product_that_was_cut_is_no_longer_current(tiny_whole: Path, tmp_path: Path, keep: int) -> None:
    whole = next((tiny_whole / "playground").glob("*_skyCorrected.fits"))
    assert Cache(Workspace(tmp_path), Here()).is_current(whole, key_of(whole))
    cut = tmp_path / whole.name
    cut.write_bytes(whole.read_bytes()[:keep])
    assert not Cache(Workspace(tmp_path), Here()).is_current(cut, key_of(whole))
    content = bytearray(whole.read_bytes())
    content[-5000] ^= 1
    other = tmp_path / "one_bit.fits"
    other.write_bytes(content)
    assert not Cache(Workspace(tmp_path), Here()).is_current(other, key_of(whole))


def test_a_run_of_damaged_files_alone_does_not_call_its_products_current(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "S20170505S0001.fits").write_bytes(b"<!doctype html>Login Required")
    report = run_job(Request(target=str(raw), into=tmp_path / "ws"), Settings(), refuse_faults, Here())
    assert report.exit_code == 1
    assert report.conclusion().startswith("nothing was made")
