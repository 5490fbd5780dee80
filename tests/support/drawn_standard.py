"""Exposures of a standard star drawn on the sky, with a zeropoint and an extinction of their own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from raw_exposure import WIDTHS

from reducer.astrometry import ChipRegion, Geometry
from reducer.frame import Chip, Context, FrameRef
from reducer.instruments import KNOWN
from reducer.sources import detect_sources

TARGET = (100.0, -30.0)
SIZE = 1024
REFERENCE = 0.0197
#: Truth, unlike the instrument's published values in every digit.
ZEROPOINT, EXTINCTION = 26.083, 0.065


@dataclass(frozen=True)
class Pixels:
    """Files in memory: one chip for each path."""

    chips: dict

    def read_chip(self, frame, index, rows=None, variance=True):
        return self.chips[frame.path.name]


def moffat(radius, fwhm, power):
    """Light per square arcsec at a radius in arcsec of a star of unit light."""
    alpha = fwhm / 2 / np.sqrt(2 ** (1 / power) - 1)
    return (power - 1) / np.pi / alpha**2 * (1 + (radius / alpha) ** 2) ** -power


def expose(number, magnitude, airmass, rng, *, seconds=30.0, saturated=False):
    """One exposure on array ``number``: a frame with sources and geometry, its chip, its transparency."""
    region = ChipRegion(number, 512, 512, SIZE, SIZE)
    bare = Geometry((region,), KNOWN["GSAOI"].field, np.eye(2), TARGET, TARGET)
    x0, y0 = SIZE / 2 + rng.uniform(-60, 60, 2)
    u0, v0 = bare.evaluate(np.array([x0]), np.array([y0]), 0)
    geometry = bare.moved(-float(u0[0]), -float(v0[0]))
    transparency, fwhm, power = rng.uniform(0.99, 1.01), rng.uniform(0.6, 1.1), rng.uniform(2.5, 4.0)
    rate = transparency * 10 ** (-0.4 * (magnitude - ZEROPOINT + EXTINCTION * airmass))
    y, x = np.mgrid[:SIZE, :SIZE]
    u, v = geometry.evaluate(x.ravel().astype(float), y.ravel().astype(float), 0)
    light = rate * seconds * moffat(np.hypot(u, v), fwhm, power).reshape(SIZE, SIZE)
    for _ in range(6):
        du, dv = rng.uniform(-9, 9, 2)
        if np.hypot(du, dv) > 2.5:
            near = np.hypot(u - du, v - dv).reshape(SIZE, SIZE)
            light += rate * seconds * 10 ** rng.uniform(-3, -2) * moffat(near, fwhm, power)
    # A flat makes surface brightness of light: electrons on a pixel of the reference size.
    data = light * REFERENCE**2
    variance = (data + 900.0 + 400.0).astype(np.float32)
    data = (data + np.sqrt(variance) * rng.standard_normal(data.shape)).astype(np.float32)
    mask = np.zeros(data.shape, np.uint16)
    if saturated:
        mask[int(y0) - 2 : int(y0) + 3, int(x0) - 2 : int(x0) + 3] = 4
    header = fits.Header()
    header.update(
        {"OBJECT": "Star One", "OBSCLASS": "partnerCal", "FILTER1": "Kshort_G1105", "FILTER2": "Clear",
         "RA": TARGET[0], "DEC": TARGET[1], "AIRMASS": airmass, "EXPTIME": seconds, "COADDS": 1,
         "INSTRUME": "GSAOI", "OBSTYPE": "OBJECT"}
    )  # fmt: skip
    chip_header = fits.Header()
    chip_header["EXTVER"], chip_header["BUNIT"] = number, "electron"
    frame = FrameRef(
        Path(f"S20170504S{number:04d}.fits"),
        header,
        (chip_header,),
        md5=f"{number:032x}",
        sources=(detect_sources(data, variance, mask, WIDTHS),),
        geometry=geometry,
    )
    return frame, Chip(data, variance, mask, chip_header), transparency


def draw_standard(folder, magnitude, seed, *, error=0.005, listed=True, saturated=False):
    """Four exposures of a standard, one an array: frames, context, transparencies, what is said."""
    rng = np.random.default_rng(seed)
    made = [expose(n, magnitude, 1.2 + 0.01 * n, rng, saturated=saturated) for n in (2, 1, 4, 3)]
    table = folder / "standards.csv"
    given = magnitude + error * rng.standard_normal()
    table.write_text(f"name,filter,mag,error\nStar One,Kshort,{given:.4f},{error}\n")
    said = []
    context = Context(
        folder=folder,
        parameters={"measureZeropoint": {"standards": str(table)}} if listed else {},
        notify=lambda event, **facts: said.append((event, facts)),
        files=Pixels({frame.path.name: chip for frame, chip, _ in made}),
    )
    dimming = [each[2] * 10 ** (-0.4 * EXTINCTION * each[0].header["AIRMASS"]) for each in made]
    frames = [frame.with_(scale=dimming[0] / own) for (frame, _, _), own in zip(made, dimming, strict=True)]
    return frames, context, [each[2] for each in made], said
