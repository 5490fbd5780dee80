"""The stack as compressed tiles for the page's viewer: every pixel, to an eighth of the noise or 0.25 %."""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from goafetch.report.draw import centre_and_spread, colour_table
from goafetch.report.stack_file import StackFile, bands, block_means_without_nan, column
from goafetch.report.verdicts import pixel_scale, typical_noise
from reducer import dq
from reducer.types import F32, U16, Table

SIDE = 512
#: Steps of the code: a quarter of the noise near the sky, and this fraction of the signal far above it.
STEPS_PER_NOISE, FINEST = 4.0, 0.005
COLOUR_MAPS = ("gray", "viridis", "inferno", "magma", "cividis")
#: Sources that the overlay shows at most, the brightest first.
MOST_SOURCES = 3000
#: Below this part of pixels with data the first view is one part of the stack, found among every so many.
SPARSE, COARSE = 0.35, 8
#: What a click on a source shows of the catalogue, where it is known: unit and digits.
ROW = {
    "NUMBER": ("", 0),
    "MAG_TOTAL": ("mag", 3),
    "MAGERR_TOTAL": ("mag", 3),
    "FLUX_TOTAL": ("e-", 0),
    "FLUXERR_TOTAL": ("e-", 0),
    "FWHM_IMAGE": ("pixels", 2),
    "ERR_POS": ("arcsec", 5),
    "FLAGS": ("", 0),
}


@dataclass(frozen=True)
class Code:
    """Electrons to whole numbers: ``round(asinh((e - zero) / soft) * steps) + offset``; 0 is no data.

    Linear near ``zero``, logarithmic far from it, so that steps are small against the noise everywhere.
    """

    zero: float
    soft: float
    steps: float
    offset: int

    def encode(self, image: F32) -> U16:
        """Codes of an image in electrons, 0 where it is NaN."""
        scaled = image - np.float32(self.zero)
        scaled /= np.float32(self.soft)
        np.arcsinh(scaled, out=scaled)
        scaled *= np.float32(self.steps)
        scaled += np.float32(self.offset + 0.5)
        np.clip(scaled, 1, 65535, out=scaled)
        np.nan_to_num(scaled, copy=False, nan=0.0)
        return scaled.astype(np.uint16)

    def value(self, codes: NDArray[Any]) -> NDArray[Any]:
        """Electrons of codes, NaN for 0."""
        electrons = self.zero + self.soft * np.sinh((codes.astype(float) - self.offset) / self.steps)
        return np.where(codes == 0, np.nan, electrons)


def choose_code(stack: StackFile) -> Code:
    """A code for a stack by the noise of its pixels, where that is known."""
    zero, spread = centre_and_spread(stack.thin.data)
    noise = typical_noise(stack) or spread
    steps = 1 / FINEST
    soft = noise / STEPS_PER_NOISE * steps
    lowest = stack.ends[0] if math.isfinite(stack.ends[0]) else zero
    offset = 2 - round(math.asinh((lowest - zero) / soft) * steps)
    return Code(zero, soft, steps, min(offset, 60000))


def tell_facts(stack: StackFile, code: Code) -> str:
    """All that the page's script must know to show the tiles, as JSON that may stand in a page."""
    low, high = _limits(stack.thin.data)
    height, width = stack.shape
    most = int(code.encode(np.array([stack.ends[1]], np.float32))[0])
    levels = [{"width": -(-width >> level), "height": -(-height >> level)} for level in range(_levels(stack))]
    facts = {
        "levels": levels,
        "side": SIDE,
        "code": {**asdict(code), "most": max(most, 2)},
        "limits": [low, high],
        "colours": {name: base64.b64encode(colour_table(name)).decode("ascii") for name in COLOUR_MAPS},
        "wcs": stack.world(),
        "scale": pixel_scale(stack),
        "sources": _sources(stack),
        "rows": _rows(stack),
        "begin": find_beginning(np.isfinite(stack.half)),
        "bits": [[bit, name] for bit, name in dq.NAMES.items() if bit != dq.OVERLAP],
        "unit": stack.text("BUNIT") or "counts",
    }
    return json.dumps(facts, separators=(",", ":")).replace("<", "\\u003c")


def cut_tiles(stack: StackFile, code: Code) -> dict[str, str]:
    """Tiles of all levels of zoom by name, in base64: ``d`` or ``m`` (data, mask), level, column, row."""
    tiles: dict[str, str] = {}
    for part in bands(stack.shape[0]):
        read = stack.rows(part, False)
        tiles.update(_cut(code.encode(read.data), read.mask, 0, part.start // SIDE))
    data, mask = stack.half, stack.thin.mask
    for level in range(1, _levels(stack)):
        tiles.update(_cut(code.encode(data), mask, level, 0))
        data, mask = block_means_without_nan(data, 2), mask[::2, ::2]
    return tiles


def _levels(stack: StackFile) -> int:
    """How often the picture must be halved until one tile holds all, and itself."""
    return 1 + max(0, math.ceil(math.log2(max(stack.shape) / SIDE)))


def _cut(codes: U16, mask: U16, level: int, first: int) -> Iterator[tuple[str, str]]:
    """Tiles of some rows of a level, the ``first`` row of tiles and those above it."""
    for y in range(0, codes.shape[0], SIDE):
        for x in range(0, codes.shape[1], SIDE):
            part = np.s_[y : y + SIDE, x : x + SIDE]
            name = f"{level}-{x // SIDE}-{first + y // SIDE}"
            yield f"d{name}", encode_tile(codes[part])
            yield f"m{name}", _deflate(mask[part].astype(np.uint8).tobytes(), zlib.Z_DEFAULT_STRATEGY)


def encode_tile(codes: U16) -> str:
    """Differences between neighbours in a row modulo 65536, small ones of either sign first, low bytes before
    high bytes, deflated."""
    steps = np.diff(codes, axis=1, prepend=np.uint16(0)).view(np.int16)
    folded = ((steps << 1) ^ (steps >> 15)).view(np.uint16)
    return _deflate(folded.astype(np.uint8).tobytes() + (folded >> 8).astype(np.uint8).tobytes(), zlib.Z_RLE)


def _deflate(content: bytes, strategy: int) -> str:
    packer = zlib.compressobj(level=4, strategy=strategy)
    return base64.b64encode(packer.compress(content) + packer.flush()).decode("ascii")


def _limits(image: F32) -> tuple[float, float]:
    """Black where one pixel in 100 is darker, white where one in 500 is brighter."""
    middle, spread = centre_and_spread(image)
    sample = image[::2, ::2]
    sample = sample[np.isfinite(sample)]
    low, high = (float(v) for v in np.percentile(sample, (1, 99.8))) if sample.size else (0.0, 1.0)
    return low, max(high, middle + 20 * spread)


def find_beginning(known: NDArray[np.bool_]) -> list[int] | None:
    """The first view of a stack most of which has no data: x, y of the middle, width and height in pixels of
    its largest part that hangs together; None where all of the stack is a picture.

    ``known``: of means of 2 x 2 pixels (ny, nx), whether they have data.
    """
    if known.mean() >= SPARSE or not known.any():
        return None
    from scipy.ndimage import find_objects, label

    coarse = known[::COARSE, ::COARSE]
    parts, number = label(coarse)
    if number == 0:
        return None
    rows, columns = find_objects(parts)[int(np.argmax(np.bincount(parts.ravel())[1:]))]
    x, y = (COARSE * (part.start + part.stop) for part in (columns, rows))
    return [x, y, *(2 * COARSE * (part.stop - part.start) for part in (columns, rows))]


def _brightest(table: Table | None) -> NDArray[np.intp]:
    """Which rows of a catalogue are shown, the brightest first; none of one without places."""
    x, flux = column(table, "X_IMAGE"), column(table, "FLUX_APER", "FLUX_AUTO")
    if x is None or column(table, "Y_IMAGE") is None:
        return np.arange(0)
    bright = np.argsort(-flux.reshape(len(flux), -1)[:, 0]) if flux is not None else np.arange(len(x))
    return bright[:MOST_SOURCES]


def _rows(stack: StackFile) -> list[dict[str, Any]]:
    """What the catalogue says of the sources that are shown, as columns: name, unit and values."""
    table = stack.tables.get("OBJCAT")
    chosen = _brightest(table)
    known = {name: column(table, name) for name in ROW}
    return [
        {"name": name, "unit": unit, "values": _rounded(values[chosen], digits)}
        for name, (unit, digits) in ROW.items()
        if (values := known[name]) is not None and values.ndim == 1 and len(chosen)
    ]


def _rounded(values: NDArray[Any], digits: int) -> list[float | None]:
    """Values with the digits that are shown, None where they are not known."""
    return [round(float(v), digits) if np.isfinite(v) else None for v in values]


def _sources(stack: StackFile) -> list[list[float]]:
    """x, y (one-based pixels) and width in pixels of the catalogue's sources, the brightest first."""
    table = stack.tables.get("OBJCAT")
    x, y, width = (column(table, name) for name in ("X_IMAGE", "Y_IMAGE", "FWHM_IMAGE"))
    if x is None or y is None:
        return []
    widths = np.full(len(x), 4.0) if width is None else np.where(np.isfinite(width), width, 4.0)
    chosen = _brightest(table)
    return [
        [round(float(v), 2) for v in row] for row in zip(x[chosen], y[chosen], widths[chosen], strict=True)
    ]
