"""What steps pass to each other: a reference to a frame on disk, and one array of it in memory."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from reducer.astrometry import Geometry
from reducer.errors import BadInput
from reducer.instruments import instrument_of
from reducer.instruments.base import Array, Instrument
from reducer.keywords import read
from reducer.types import F32, F64, U16, Header, Table, table_of

#: Keywords that a frame shows of itself in a notebook, beside its filter.
SHOWN = ("OBJECT", "OBSCLASS", "EXPTIME", "COADDS", "DATE-OBS", "UT", "BUNIT")


def ascii_columns(table: Table) -> Table:
    """A table as FITS can hold it: letters beyond ASCII, of file names perhaps, as Python escapes them."""
    columns = {name: table[name] for name in table.dtype.names or ()}
    for name, column in columns.items():
        if column.dtype.kind == "U" and not "".join(column.flat).isascii():
            columns[name] = np.char.encode(column, "unicode_escape")
    return table_of(columns)


@dataclass(frozen=True, slots=True)
class Chip:
    """One array of one frame in memory: data and variance (ny, nx) in float32, mask in uint16 (see dq).

    A static bad-pixel mask about to be written is a chip with empty data and variance.
    """

    data: F32
    variance: F32
    mask: U16
    header: Header


class Rows(Protocol):
    """What pixels are written from: an array, or what reads some of its rows when they are asked for."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    def __getitem__(self, rows: slice, /) -> NDArray[Any]: ...


class Pixels(Protocol):
    """What is written as a chip, data and variance in float32, mask in uint16: one in memory, or one whose
    planes are made as they are asked for."""

    @property
    def data(self) -> Rows: ...
    @property
    def variance(self) -> Rows: ...
    @property
    def mask(self) -> Rows: ...
    @property
    def header(self) -> Header: ...


class Source(Protocol):
    """Makes the pixels of a frame that is on no disk whenever they are read; picklable."""

    @property
    def tables(self) -> Mapping[str, Table]:
        """What is written beside the pixels where the frame is saved."""
        ...

    def pixels(self, frame: FrameRef, index: int, rows: slice | None, variance: bool) -> tuple[F32, F32, U16]:
        """Data, variance (zero unless asked for) and mask of one array of the frame, or of some rows."""
        ...


@dataclass(frozen=True)
class FrameRef:
    """A frame on disk, by path, with its headers, repaired where wrong, and what was learnt about it.

    ``chips`` holds the header of each image array in order of their numbers (a missing array is left out;
    the header's EXTVER says which it is). ``md5``: of the raw file. ``role``: 'object', 'sky' or 'both', set
    by separateSky. ``skies``: names of the frames that serve as its sky, set by associateSky. ``hidden``:
    by array, packed masks of objects known from a stack. ``reference_pixels``: by array, their
    electrons for each 64 columns, from correctDetector. ``sources``, ``geometry`` and ``scale``, with
    ``scale_error`` as a part of it, are set by the steps that measure them. ``source``: what makes the
    pixels of a frame that is not written, or not yet; its path is then the one it would have. ``dark``: that
    was subtracted. ``before``: the flat-fielded frame that a sky-subtracted one was made of. ``drift``:
    arcsec (east, north) that a moving target has gone since the first exposure; None where the stack is made
    on the stars.
    """

    path: Path
    header: Header
    chips: tuple[Header, ...]
    repairs: tuple[str, ...] = ()
    md5: str = ""
    role: str = ""
    skies: tuple[str, ...] = ()
    hidden: Mapping[int, tuple[bytes, tuple[int, int]]] = field(default_factory=dict)
    reference_pixels: Mapping[int, F64] = field(default_factory=dict)
    sources: tuple[Table, ...] = ()
    geometry: Geometry | None = None
    scale: float = 1.0
    scale_error: float = 0.0
    source: Source | None = None
    dark: Path | None = None
    before: FrameRef | None = None
    drift: tuple[float, float] | None = None
    aligned: Path | None = None

    @property
    def instrument(self) -> Instrument:
        """That of its header."""
        return instrument_of(self.header, self.path.name)

    @property
    def placed(self) -> Geometry:
        """Its geometry; BadInput if no step has given it one."""
        if self.geometry is None:
            raise BadInput(f"{self.path.name} is not aligned", "adjustWCSToReference before this step")
        return self.geometry

    @property
    def exposure_time(self) -> float:
        """Seconds of one coadd; 1 where the header says nothing that can be read."""
        return read(self.header, "EXPTIME", float, 1e-6) or 1.0

    @property
    def coadds(self) -> int:
        """How many exposures were added up as they were read; 1 where the header does not say."""
        return max(read(self.header, "COADDS", int) or 1, 1)

    def array(self, index: int) -> Array:
        """The array that a chip is of."""
        return self.instrument.arrays[int(self.chips[index]["EXTVER"]) - 1]

    def with_(self, **changes: Any) -> FrameRef:
        """A copy with some fields changed."""
        return replace(self, **changes)

    def _repr_html_(self) -> str:
        """What a notebook shows: the file, and the keywords by which an astronomer knows it."""
        known = [(key, self.header[key]) for key in SHOWN if key in self.header]
        known = [("arrays", len(self.chips)), ("filter", self.instrument.filter_name(self.header)), *known]
        facts = [*known, *(("repaired", text) for text in self.repairs)]
        rows = "".join(
            f"<tr><th>{escape(key)}</th><td>{escape(str(value))}</td></tr>" for key, value in facts
        )
        return f"<table><caption>{escape(self.path.name)}</caption>{rows}</table>"


class Files(Protocol):
    """The disk as steps see it: picklable, so that tasks in other processes can carry it.

    Steps may not import ``fitsio``; they use ``context.disk``, which is ``fitsio.Disk()``.
    """

    def __hash__(self) -> int: ...

    def open_frame(self, path: Path) -> FrameRef:
        """The frame at a path, headers only."""
        ...

    def read_chip(
        self, frame: FrameRef, index: int, rows: slice | None = None, variance: bool = True
    ) -> Chip:
        """One array of a frame, or a block of its rows; its variance only if asked for."""
        ...

    def read_planes(
        self,
        path: Path,
        array: int,
        rows: slice | None = None,
        variance: bool = True,
        mask: bool = True,
        data: bool = True,
    ) -> tuple[F32, F32, U16]:
        """Data, variance and mask of the array of that number in a file; what is not asked for is zero."""
        ...

    def read_image(self, path: Path, name: str, rows: slice | None = None) -> NDArray[Any] | None:
        """An image of a product by its name, or some of its rows, None if it has none of that name."""
        ...

    def read_table(self, path: Path, name: str) -> Table | None:
        """A table of a product by its name, None if it has none of that name."""
        ...

    def save_frame(self, frame: FrameRef, folder: Path) -> FrameRef:
        """Write a frame that a source makes, and return it as it is on disk."""
        ...

    def write_frame(
        self,
        path: Path,
        primary: Header,
        chips: Iterable[Pixels],
        *,
        tables: Mapping[str, Table | tuple[Table, ...]] | None = None,
        images: Mapping[str, Rows | tuple[Rows, ...]] | None = None,
        lasting: bool = True,
        read_soon: bool = True,
    ) -> Path:
        """Write a frame under its final name only when it is whole."""
        ...


@dataclass(frozen=True)
class StepRecord:
    """That a step was run: its name, its parameters in force, and when it began and ended (UTC), '' if it
    runs yet."""

    name: str
    parameters: Mapping[str, Any]
    start: str = ""
    stop: str = ""


def in_this_process(function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
    """Run tasks one after the other; what a pool's map looks like."""
    return map(function, tasks)


def tell_nobody(event: str, /, **facts: object) -> None:
    """The default of ``Context.notify``."""


@dataclass(frozen=True)
class Context:
    """All that a step may use besides its frames.

    ``folder``: where products go. ``parameters``: step name -> parameter -> value, as the user gave them.
    ``flat``, ``bpm``, ``dark``, ``user_bpm``: paths of calibrations, or None. ``map``: runs a module-level
    function over picklable tasks, in order, perhaps in other processes. ``wanted``: names of the products to
    write, None for all. ``raw_md5``: file name -> md5 of inputs, where known. ``key``: the cache key of
    products. ``recipe_file``: where a recipe of the user's own stands.
    ``memory``: bytes that the pixels of one task may take; what a product holds does not depend on it.
    ``files`` and ``steps`` (run so far, the present one last) are filled in by ``run_recipe``.
    ``mark``: tells runs of one process apart.
    """

    folder: Path
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    flat: Path | None = None
    bpm: Path | None = None
    dark: Path | None = None
    user_bpm: Path | None = None
    notify: Callable[..., None] = tell_nobody
    map: Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]] = in_this_process
    wanted: frozenset[str] | None = None
    raw_md5: Mapping[str, str] = field(default_factory=dict)
    key: str = ""
    recipe_file: Path | None = None
    memory: int = 300_000_000
    files: Files | None = None
    steps: tuple[StepRecord, ...] = ()
    mark: str = field(default_factory=lambda: secrets.token_hex(4))

    @property
    def scratch(self) -> Path:
        """A folder for frames that only later steps of the same run need; ``run_recipe`` removes it.

        Recipes that run side by side may have one key: those of two pointings that lend each other skies.
        """
        return self.folder / f".scratch-{os.getpid()}-{self.mark}"

    @property
    def disk(self) -> Files:
        """Where frames are read from and written to."""
        if self.files is None:
            raise BadInput(
                "this context has no disk", "a step called by run_recipe, or Context(files=fitsio.Disk())"
            )
        return self.files
