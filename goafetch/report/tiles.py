"""The stack as compressed tiles for the page's viewer: every pixel, to an eighth of the noise or 0.25 %."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from goafetch.report.drawing.draw import centre_and_spread, colour_table
from goafetch.report.products import Stack, column
from goafetch.report.quality import pixel_scale, typical_noise
from reducer import dq
from reducer.frame import F32, U16

SIDE = 512
#: Steps of the code: a quarter of the noise near the sky, and this fraction of the signal far above it.
STEPS_PER_NOISE, FINEST = 4.0, 0.005
COLOUR_MAPS = ("gray", "viridis", "inferno", "magma", "cividis")
#: Sources that the overlay shows at most, the brightest first.
MOST_SOURCES = 3000


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
        return np.asarray(np.nan_to_num(scaled, copy=False, nan=0.0), np.uint16)

    def value(self, codes: NDArray[Any]) -> NDArray[Any]:
        """Electrons of codes, NaN for 0."""
        electrons = self.zero + self.soft * np.sinh((codes.astype(float) - self.offset) / self.steps)
        return np.where(codes == 0, np.nan, electrons)


@dataclass(frozen=True)
class Viewer:
    """What the page needs to show a stack: facts for the script as JSON, and tiles by name, in base64."""

    facts: str
    tiles: dict[str, str]


def choose_code(image: F32, noise: float | None) -> Code:
    """A code for an image by the noise of its pixels, where that is known."""
    zero, spread = centre_and_spread(image)
    noise = noise or spread
    steps = 1 / FINEST
    soft = noise / STEPS_PER_NOISE * steps
    lowest = float(np.nanmin(image)) if np.isfinite(image).any() else 0.0
    offset = 2 - round(float(np.arcsinh((lowest - zero) / soft)) * steps)
    return Code(zero, soft, steps, min(offset, 60000))


def make_viewer(stack: Stack) -> Viewer:
    """Tiles of all levels of zoom, and all that the script must know to show them."""
    code = choose_code(stack.data, typical_noise(stack))
    tiles, levels, most = {}, [], 2
    with ThreadPoolExecutor(2) as threads:  # packing is the compressor's work, outside the interpreter's lock
        for level, (data, mask) in enumerate(_pyramid(stack.data, stack.mask)):
            levels.append({"width": data.shape[1], "height": data.shape[0]})
            codes = code.encode(data)
            most = max(most, int(codes.max()))
            for y in range(0, data.shape[0], SIDE):
                for x in range(0, data.shape[1], SIDE):
                    name, part = f"{level}-{x // SIDE}-{y // SIDE}", np.s_[y : y + SIDE, x : x + SIDE]
                    tiles[f"d{name}"] = threads.submit(pack, codes[part])
                    tiles[f"m{name}"] = threads.submit(_pack_mask, mask[part])
    packed = {name: tile.result() for name, tile in tiles.items()}
    low, high = _limits(stack.data)
    facts = {
        "levels": levels,
        "side": SIDE,
        "code": {**asdict(code), "most": most},
        "limits": [low, high],
        "colours": {name: base64.b64encode(colour_table(name)).decode("ascii") for name in COLOUR_MAPS},
        "wcs": stack.world(),
        "scale": pixel_scale(stack),
        "sources": _sources(stack),
        "bits": [[bit, name] for bit, name in dq.NAMES.items() if bit != dq.OVERLAP],
        "unit": stack.text("BUNIT") or "counts",
    }
    return Viewer(json.dumps(facts, separators=(",", ":")).replace("<", "\\u003c"), packed)


def pack(codes: U16) -> str:
    """Differences between neighbours in a row, small ones first, low bytes before high bytes, deflated."""
    steps = np.diff(codes.astype(np.int32), axis=1, prepend=0)
    folded = np.where(steps < 0, -2 * steps - 1, 2 * steps).astype(np.uint32)
    planes = [(folded >> shift & 0xFF).astype(np.uint8).tobytes() for shift in (0, 8, 16)]
    return _deflate(b"".join(planes), zlib.Z_RLE)


def _pack_mask(mask: U16) -> str:
    return _deflate((mask & 0xFF).astype(np.uint8).tobytes(), zlib.Z_DEFAULT_STRATEGY)


def _deflate(content: bytes, strategy: int) -> str:
    packer = zlib.compressobj(level=4, strategy=strategy)
    return base64.b64encode(packer.compress(content) + packer.flush()).decode("ascii")


def _pyramid(data: F32, mask: U16) -> Iterator[tuple[F32, U16]]:
    """The image and its halves (means of 2 x 2 pixels, NaN left out) until one tile holds all."""
    yield data, mask
    while max(data.shape) > SIDE:
        data, mask = _halve(data), mask[::2, ::2]
        yield data, mask


def _halve(data: F32) -> F32:
    """Means of 2 x 2 pixels; an odd last row or column is a block of its own."""
    height, width = data.shape
    padded = np.pad(data, ((0, height % 2), (0, width % 2)), constant_values=np.nan)
    known = np.isfinite(padded)
    padded[~known] = 0
    count, total = (_sum_fours(plane) for plane in (known.view(np.uint8), padded))
    return np.where(count > 0, total / np.maximum(count, 1), np.float32(np.nan)).astype(
        np.float32, copy=False
    )


def _sum_fours(plane: NDArray[Any]) -> NDArray[Any]:
    rows = plane[::2] + plane[1::2]
    return np.asarray(rows[:, ::2] + rows[:, 1::2])


def _limits(image: F32) -> tuple[float, float]:
    """Black where one pixel in 100 is darker, white where one in 500 is brighter."""
    middle, spread = centre_and_spread(image)
    sample = image[::3, ::3]
    sample = sample[np.isfinite(sample)]
    low, high = (float(v) for v in np.percentile(sample, (1, 99.8))) if sample.size else (0.0, 1.0)
    return low, max(high, middle + 20 * spread)


def _sources(stack: Stack) -> list[list[float]]:
    """x, y (one-based pixels) and width in pixels of the catalogue's sources, the brightest first."""
    table = stack.tables.get("OBJCAT")
    x, y = column(table, "X_IMAGE"), column(table, "Y_IMAGE")
    if x is None or y is None:
        return []
    flux, width = column(table, "FLUX_APER", "FLUX_AUTO"), column(table, "FWHM_IMAGE")
    bright = np.argsort(-flux.reshape(len(flux), -1)[:, 0]) if flux is not None else np.arange(len(x))
    widths = np.full(len(x), 4.0) if width is None else np.where(np.isfinite(width), width, 4.0)
    chosen = bright[:MOST_SOURCES]
    return [
        [round(float(v), 2) for v in row] for row in zip(x[chosen], y[chosen], widths[chosen], strict=True)
    ]
