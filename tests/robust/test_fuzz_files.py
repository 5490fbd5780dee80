"""Files and headers damaged at random go through plan and reduce: refused in words, or right."""

from __future__ import annotations

import itertools
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from caged import Here, memory_limit, refuse_faults, time_limit
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from mutants import changed_headers, damaged_files, header_changes
from tiny_program import LAMPS_OFF, LAMPS_ON, ON_SKY, ON_TARGET, SIDE, name_of

from goafetch.pipeline.cache import Cache
from goafetch.pipeline.catalogues import CatalogueSearch, Choices
from goafetch.pipeline.execute import execute
from goafetch.pipeline.run import survey, tell_plan
from goafetch.pipeline.stages import Tools
from goafetch.plan.decide import make_plan
from goafetch.plan.plan import Plan
from goafetch.plan.sort import Wanted
from goafetch.workspace import Workspace

#: Two of each kind are damaged, and one is sound.
TARGETS = tuple(name_of(kind[at]) for kind in (ON_TARGET, LAMPS_ON, LAMPS_OFF, ON_SKY) for at in (0, 1))
SIZES = (0, *[SIDE * SIDE * 4] * 4)
BATCH = len(TARGETS)


def reduce_with(raw: Path, changed: dict[str, bytes], folder: Path, reduced: bool) -> Plan:
    """Plan and reduce the tiny program with some of its files changed; fails on anything unforeseen."""
    shutil.rmtree(folder, ignore_errors=True)
    workspace = Workspace(folder).make()
    for path in raw.iterdir():
        os.link(path, workspace.playdata / path.name)
    for name, content in changed.items():
        (workspace.playdata / name).unlink()
        (workspace.playdata / name).write_bytes(content)
    files = sorted(workspace.playdata.iterdir())
    with time_limit():
        facts, unreadable = survey(files)
        plan = make_plan(facts, workspace.playground, Wanted(), (), unreadable)
        tell_plan(plan, unreadable, refuse_faults)
        if reduced:
            pool = Here()
            tools = Tools(workspace, pool, Cache(workspace, pool), {})
            references = CatalogueSearch(Choices("none", "none"), workspace)
            frames = Plan(plan.flats, plan.visits, (), plan.left_out, plan.warnings)
            execute(frames, tools, references, refuse_faults)
    return plan


def check(plan: Plan, folder: Path) -> None:
    """Nothing impossible was planned, every file has its place, and no product shows what cannot be."""
    planned = {path for group in plan.groups() for path in (*group.frames, group.bpm) if path}
    left = {out.path for out in plan.left_out}
    assert planned | left == set((folder / "playdata").iterdir())
    for group in plan.groups():
        assert group.setup.exposure_time > 0 and math.isfinite(group.setup.exposure_time)
    for product in (folder / "playground").glob("*.fits"):
        assert is_whole(product), product.name
        with fits.open(product) as file:
            for unit in [unit for unit in file if unit.name == "SCI"]:
                good = file["DQ", unit.ver].data == 0
                assert np.isfinite(unit.data[good]).all(), product.name
                assert (file["VAR", unit.ver].data[good] >= 0).all(), product.name
    assert not list((folder / "playground").glob(".*.part")) + list((folder / "playground").glob(".scratch*"))


def is_whole(product: Path) -> bool:
    """Whether the words of a file add up to -0 in ones' complement, as those of each unit with a CHECKSUM do.

    FITS standard 4.0, section 4.4.2.7 and appendix J.
    """
    total = int(np.frombuffer(product.read_bytes(), ">u4").sum(dtype=np.uint64))
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total == 0xFFFFFFFF


def fuzz(examples: int, start: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Settings of a fuzzing test: other cases for other starts, the same ones each time."""
    chosen = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    return lambda test: seed(start)(chosen(test))


def prove_headers(examples: int, start: int, raw: Path, folder: Path, every: int = 1) -> None:
    """Plan so many programs with eight damaged headers each, and reduce every so manieth of them."""
    contents = {name: (raw / name).read_bytes() for name in TARGETS}
    number = itertools.count(1)

    @fuzz(examples, start)
    @given(st.tuples(*[header_changes()] * BATCH))
    def headers(changes: tuple) -> None:
        changed = {
            name: changed_headers(content, SIZES, own)
            for (name, content), own in zip(contents.items(), changes, strict=True)
        }
        check(reduce_with(raw, changed, folder, next(number) % every == 0), folder)

    with memory_limit():
        headers()


def prove_files(examples: int, start: int, raw: Path, folder: Path, every: int = 1) -> None:
    """The same with damaged files."""
    contents = {name: (raw / name).read_bytes() for name in TARGETS}
    number = itertools.count(1)

    @fuzz(examples, start)
    @given(st.fixed_dictionaries({name: damaged_files(content) for name, content in contents.items()}))
    def files(changed: dict[str, bytes]) -> None:
        plan = reduce_with(raw, changed, folder, next(number) % every == 0)
        check(plan, folder)
        refused = {out.path.name for out in plan.left_out}
        short = {name for name, content in changed.items() if len(content) < len(contents[name]) - 2880}
        assert short - refused == set(), "files that lack pixels were accepted"

    with memory_limit():
        files()


@pytest.fixture(autouse=True)
def compiled(tiny_whole: Path) -> None:
    """The kernels are there by then: no case has to wait for them."""


def test_a_hundred_damaged_headers(tiny_night: Path, tmp_path: Path) -> None:
    prove_headers(13, 0, tiny_night, tmp_path / "ws", every=6)


def test_a_hundred_damaged_files(tiny_night: Path, tmp_path: Path) -> None:
    prove_files(13, 0, tiny_night, tmp_path / "ws", every=6)


@pytest.mark.prove
@pytest.mark.parametrize("start", range(1, 11))
def test_twenty_thousand_damaged_headers(tiny_night: Path, tmp_path: Path, start: int) -> None:
    prove_headers(250, start, tiny_night, tmp_path / "ws")


@pytest.mark.prove
@pytest.mark.parametrize("start", range(1, 6))
def test_two_thousand_damaged_files(tiny_night: Path, tmp_path: Path, start: int) -> None:
    prove_files(50, start, tiny_night, tmp_path / "ws")
