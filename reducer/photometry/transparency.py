"""Transparencies of exposures against each other, from the light they share on scales beyond the images.

Images change from exposure to exposure, light does not: smoothed well beyond a star's halo, two exposures
of a field differ by one factor. What the change of images leaves at a scale falls with its square, the
lowest term of any image's transfer function; from several scales it is carried to infinity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import gaussian_filter
from scipy.sparse.csgraph import connected_components

from reducer.photometry.lightmap import SPACING, LightMap
from reducer.types import F64

#: Deviations in arcsec of the Gaussians that smooth the light; what twice as wide ones leave is taken off.
SCALES = (1.0, 1.4, 2.0)
#: Arcsec along the side of the blocks whose light is left out in turn to learn the error.
BLOCK = 6.0
#: Nodes that two arrays have to share for their light to be compared.
FEWEST_NODES = 100
#: Signal to noise at which a node has half of its full weight.
HALF_WEIGHT = 3.0
#: Each exposure is compared with this many others at most.
MOST_PARTNERS = 12
#: How alike (correlated) the smoothed light of two exposures has to be to tell anything.
LEAST_ALIKE = 0.5
#: By what part single stars differ between exposures besides their noise; the part of what is carried to
#: infinite scale that may be wrong; how much transparencies differ from exposure to exposure, before anything
#: is known of them.
OWN_SCATTER, CARRIED, USUAL_CHANGE = 0.006, 0.3, 0.03
#: Over so many squares of a scale smoothed noise is alike: the integral of the square of its correlation.
SPOT = 4.14
#: Error of a logarithm of which nothing is known.
UNKNOWN = 30.0


@dataclass(frozen=True)
class Transparency:
    """Logarithms (n,) of exposures' brightness, about 0, and the covariance (n, n) of their errors.

    ``told``: whether an exposure's light says more of it than what is usual.
    """

    logs: F64
    covariance: F64
    told: NDArray[np.bool_]

    def against(self, first: int = 0) -> tuple[F64, F64]:
        """Brightness (n,) relative to one exposure, and its 1-sigma errors."""
        ratio = np.exp(self.logs - self.logs[first])
        own = np.diag(self.covariance)
        square = own + own[first] - 2.0 * self.covariance[first]
        return ratio, ratio * np.sqrt(np.maximum(square, 0.0))


def compare_transparencies(
    maps: Sequence[LightMap], run: Callable[..., Iterable[F64]] = map, widened: float = 1.0
) -> Transparency:
    """The transparencies of exposures, given the light per second of each on one lattice.

    All pairs are solved together; ``run`` compares them one by one; ``widened``: multiplies SCALES, for wider
    images. What the light does not tell is 1 within USUAL_CHANGE.
    """
    count = len(maps)
    if count == 1:
        return Transparency(np.zeros(1), np.zeros((1, 1)), np.ones(1, bool))
    pairs = partners(count)
    every = zip(pairs, run(compare_pair, [(maps[i], maps[j], widened) for i, j in pairs]), strict=True)
    told = [(pair, power) for pair, power in every if is_told(power)]
    logs, covariance = np.zeros(count), UNKNOWN**2 * np.eye(count)
    if told:
        joined, powers = (np.array(part) for part in zip(*told, strict=True))
        logs, covariance = _measure(joined, powers, count)
    logs, covariance = with_prior(logs, covariance)
    return Transparency(logs, covariance, np.diag(covariance) < 0.5 * USUAL_CHANGE**2)


def partners(count: int) -> NDArray[np.intp]:
    """Pairs of exposures to compare, (pairs, 2): all of few, of many each with some near and far in time."""
    steps = list(range(1, count))
    if count > MOST_PARTNERS + 1:
        steps = sorted({int(step) for step in np.geomspace(1, count - 1, MOST_PARTNERS // 2)})
    found = [(i, i + step) for step in steps for i in range(count - step)]
    return np.array(found, np.intp).reshape(-1, 2)


# --- two exposures ----------------------------------------------------------------------------------------


def compare_pair(task: tuple[LightMap, LightMap, float]) -> F64:
    """Sums (SCALES, blocks, 4) over the nodes that both exposures see: the squares of the first's smoothed
    light, its products with the second's, the second's squares, and the weights of the nodes.

    Weights fall towards edges, across which changing images carry light, and with the signal to noise.
    """
    one, two, widened = task
    seen, light = _level(one, two)
    shape = seen.shape
    side = max(round(BLOCK / SPACING), 1)
    across = shape[1] // side + 1
    block = (np.arange(shape[0])[:, None] // side * across + np.arange(shape[1]) // side)[seen]
    sums = np.zeros((len(SCALES), (shape[0] // side + 1) * across, 4))
    if not seen.any():
        return sums
    inside = gaussian_filter(seen.astype(float), widened * SCALES[0] / SPACING, mode="constant")[seen]
    safe = np.maximum(2.0 * inside - 1.0, 0.0) ** 2
    for scale, (a, b) in enumerate(_smooth(light, widened)):
        a, b = a[seen], b[seen]
        noise = 1.4826 * float(np.median(np.abs(a - b)))
        mean = 0.5 * (a + b)
        weight = safe * mean**2 / (mean**2 + (HALF_WEIGHT * noise) ** 2 + 1e-30)
        for column, values in enumerate((a * a, a * b, b * b, np.ones(len(a)))):
            sums[scale, :, column] = np.bincount(block, weight * values, sums.shape[1])
    return sums


def _level(one: LightMap, two: LightMap) -> tuple[NDArray[np.bool_], F64]:
    """The nodes that both see, and the light of both, (2, ny, nx), 0 elsewhere, less its own level for each
    pair of arrays and a plane: what is left of the sky would count at the edges. Linear in the light."""
    both = np.where((one.array > 0) & (two.array > 0), 5 * one.array + two.array, 0)
    kinds, index, counts = np.unique(both, return_inverse=True, return_counts=True)
    seen = ((kinds > 0) & (counts >= FEWEST_NODES))[index].reshape(both.shape)
    light = np.zeros((2, *seen.shape))
    if not seen.any():
        return seen, light
    kind = np.unique(both[seen], return_inverse=True)[1]
    count = np.bincount(kind)
    columns: tuple[NDArray[Any], ...] = (one.light[seen], two.light[seen], *np.nonzero(seen))
    centred = [values - (np.bincount(kind, values) / count)[kind] for values in columns]
    place = np.stack(centred[2:], axis=1)
    to_slopes = np.linalg.inv(place.T @ place)
    for number, values in enumerate(centred[:2]):
        light[number][seen] = values - place @ (to_slopes @ (place.T @ values))
    return seen, light


def _smooth(light: F64, widened: float) -> Iterable[F64]:
    """Light (2, ny, nx) smoothed on each of SCALES, less the same smoothed twice as wide."""
    height, width = light.shape[1:]
    margin = int(6.0 * widened * SCALES[-1] / SPACING)
    size = [fft.next_fast_len(length + margin, real=True) for length in (height, width)]
    spectrum = fft.rfft2(light, s=size)
    k = np.hypot(fft.fftfreq(size[0])[:, None], fft.rfftfreq(size[1])) * (2.0 * np.pi / SPACING)
    for scale in SCALES:
        bell = np.exp(-0.5 * (k * scale * widened) ** 2)
        yield fft.irfft2(spectrum * (bell - bell**4), s=size)[:, :height, :width]


def is_told(power: F64) -> bool:
    """Whether the light that two exposures share outweighs their noise on every scale, and is more than one
    block's; ``power`` (SCALES, blocks, 4) as ``compare_pair`` gives it."""
    total = power.sum(axis=1)
    alike = total[:, 1] > LEAST_ALIKE * np.sqrt(total[:, 0] * total[:, 2])
    return bool(alike.all() and (total[:, 1] > 0).all())


def _ratio(power: F64) -> F64:
    """Logarithm of the first's light over the second's, from sums (..., 4), along the longer axis of their
    distribution, for the noise of both is alike (York 1966, Can. J. Phys. 44, 1079)."""
    angle = 0.5 * np.arctan2(2.0 * power[..., 1], power[..., 0] - power[..., 2])
    return np.asarray(-np.log(np.tan(np.clip(angle, 1e-6, np.pi / 2 - 1e-6))))


# --- all exposures ----------------------------------------------------------------------------------------


def _measure(pairs: NDArray[np.intp], powers: F64, count: int) -> tuple[F64, F64]:
    """Logs of the exposures' brightness against the mean of those that are compared, and their covariance."""
    middle = powers.shape[1] // 2
    weights = powers[:, middle, :, 1].sum(axis=1)
    design = np.zeros((len(pairs), count))
    rows = np.arange(len(pairs))
    design[rows, pairs[:, 0]], design[rows, pairs[:, 1]] = 1.0, -1.0
    root = np.sqrt(weights / weights.max())[:, None]
    to_logs = np.linalg.pinv(design * root) * root[:, 0]
    carry = np.linalg.pinv(np.stack([np.ones(len(SCALES)), np.array(SCALES) ** -2.0], axis=1))[0]

    def solve(sums: F64) -> tuple[F64, F64]:
        each = np.einsum("np,ps...->sn...", to_logs, _ratio(sums))
        return np.einsum("s,sn...->n...", carry, each), each[-1]

    total = powers.sum(axis=2)
    logs, last = solve(total)
    used = np.flatnonzero((powers[:, middle, :, 1] > 0).any(axis=0))
    without = solve(total[:, :, None] - powers[:, :, used])[0] - logs[:, None]
    covariance = jackknife(without)
    least = _own_scatter(pairs, powers[:, middle], count)
    covariance += np.diag(np.maximum(least - np.diag(covariance), 0.0) + (CARRIED * (logs - last)) ** 2)
    # What the exposures that are compared have in common is not known, nor anything of the others.
    _, group = connected_components(np.abs(design.T) @ np.abs(design) > 0)
    return logs, covariance + UNKNOWN**2 * (group[:, None] == group)


def jackknife(without: F64) -> F64:
    """Covariance (n, n) of logs, from how far each moves without one of the blocks, (n, blocks).

    Few blocks with most of the light tell how much logs are in error, but not how they are together: as far
    as that is so, errors are taken for independent.
    """
    count, blocks = without.shape
    covariance = without @ without.T * (blocks - 1) / max(blocks, 1)
    squares = (without**2).sum(axis=0)
    telling = squares.sum() ** 2 / max(float((squares**2).sum()), 1e-300)
    kept = telling / (telling + count)
    return np.asarray(kept * covariance + (1.0 - kept) * np.diag(np.diag(covariance)))


def _own_scatter(pairs: NDArray[np.intp], powers: F64, count: int) -> F64:
    """Squares of the errors (n,) by what single stars, and the noise, differ, for the number of blocks and
    of spots of smoothed noise that the light is spread over."""
    light = powers[:, :, 1]
    blocks = light.sum(axis=1) ** 2 / (light**2).sum(axis=1)
    total = powers.sum(axis=1)
    alike = total[:, 1] / np.sqrt(total[:, 0] * total[:, 2])
    spots = np.maximum(total[:, 3] * (SPACING / SCALES[len(SCALES) // 2]) ** 2 / SPOT, 1.0)
    # Of a pair's noise either exposure has its half.
    square = OWN_SCATTER**2 / blocks + (1.0 - alike) / alike / spots
    found = np.zeros(count)
    for number in np.unique(pairs):
        found[number] = square[(pairs == number).any(axis=1)].mean()
    return found


def with_prior(logs: F64, covariance: F64) -> tuple[F64, F64]:
    """Logs and their covariance together with what is usual: 0 within USUAL_CHANGE, with the long tails of a
    Cauchy distribution, so that clouds are believed where they are seen well.

    ``logs``: (n,), without unit; ``covariance``: (n, n).
    """
    found, gain, usual = np.zeros(len(logs)), np.eye(len(logs)), np.eye(len(logs))
    for _ in range(50):
        usual = np.diag(USUAL_CHANGE**2 + found**2)
        gain = usual @ np.linalg.inv(usual + covariance)
        found = gain @ logs
    return found, usual - gain @ usual
