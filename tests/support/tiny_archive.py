"""A tiny practice archive for tests: genuine FITS files of a few kilobytes under the tutorial's names.

`build_tiny_archive(folder, programs)` writes the stored files and ``holdings.json``. Programs: ``tutorial``
(51 files of GS-2017A-Q-29 and its shared calibrations), ``proprietary`` (GS-2026A-Q-77: two released files,
two not, the last with a proprietary header; GS-2026A-Q-78: nothing released), ``odd`` (a file stored plain,
a superseded version, a QA Fail, one name in two paths, an engineering frame).
"""

from __future__ import annotations

import bz2
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

ARRAYS = ("H2RG-032-074", "H2RG-032-064", "H2RG-032-071", "H2RG-032-061")
DETECTOR_ORIGINS = ((2048, 0), (0, 0), (0, 2048), (2048, 2048))
SIDE = 32
BPM = "bpm_20121104_gsaoi_gsaoi_11_full_4amp.fits"


@dataclass(frozen=True)
class Exposure:
    """What distinguishes one file of the tiny archive from another."""

    name: str
    moment: datetime
    label: str
    object: str = "HaroX-7"
    kind: str = "OBJECT"
    exposure_class: str = "science"
    seconds: float = 60.0
    qa_state: str = "Pass"
    release: str = "2017-11-05"
    reduction: str = "RAW"
    path: str = ""
    packed: bool = True
    present: bool = True
    engineering: bool = False
    proprietary_coordinates: bool = False
    associated: bool = True
    offset: tuple[float, float] = (0.0, 0.0)

    @property
    def observation(self) -> str:
        return self.label.rpartition("-")[0]

    @property
    def program(self) -> str:
        return self.observation.rpartition("-")[0]


def build_tiny_archive(folder: Path, programs: Sequence[str] = ("tutorial",)) -> list[dict[str, Any]]:
    """Write stored files and ``holdings.json`` of the programs into a folder; give the records."""
    folder.mkdir(parents=True, exist_ok=True)
    exposures = [exposure for program in programs for exposure in PROGRAMS[program]()]
    rows = [_store(folder, exposure, number) for number, exposure in enumerate(exposures)]
    (folder / "holdings.json").write_text(json.dumps(rows, indent=1))
    return rows


def tutorial() -> list[Exposure]:
    """The 51 files of the published tutorial: 16 science, 15 + 15 flats, 4 standards, the mask."""
    afternoon, night = datetime(2017, 5, 4, 20, 0), datetime(2017, 5, 5, 3, 40)
    lamps = dict(kind="OBJECT", exposure_class="dayCal", seconds=15.0, release="2017-05-04")
    flats = [
        Exposure(
            f"S20170505S{number:04d}.fits",
            afternoon + timedelta(minutes=number),
            f"GS-CAL20170504-{1 if number < 50 else 2}-{(number - 29) % 30:03d}",
            object="Domeflat" if number < 50 else "Domeflat OFF",
            **lamps,
        )
        for number in (*range(30, 45), *range(60, 75))
    ]
    standards = [
        Exposure(
            f"S20170504S{number:04d}.fits",
            datetime(2017, 5, 4, 9, 0) + timedelta(minutes=number - 114),
            f"GS-CAL20170504-3-{number - 113:03d}",
            object="9132",
            exposure_class="partnerCal",
            seconds=30.0,
            release="2017-05-04",
        )
        for number in range(114, 118)
    ]
    science = [
        Exposure(
            f"S20170505S{number:04d}.fits",
            night + timedelta(minutes=number - 95),
            f"GS-2017A-Q-29-32-{number - 94:03d}",
            object="NGC5128",
            offset=(0.2 * (number % 3), 0.2 * (number % 2)) if number < 104 else (300.0, 300.0),
        )
        for number in range(95, 111)
    ]
    mask = Exposure(
        BPM,
        datetime(2012, 11, 4),
        "GS-CAL20121104-1-001",
        object="BPM",
        kind="BPM",
        exposure_class="dayCal",
        seconds=0.0,
        release="2012-11-04",
        reduction="PROCESSED_BPM",
        associated=False,
    )
    return [*science, *flats, *standards, mask]


def proprietary() -> list[Exposure]:
    """Files that an anonymous user may have only in part."""
    first = datetime(2026, 4, 10, 4, 1)
    partly = [
        Exposure(
            f"S20260410S000{number}.fits",
            first + timedelta(minutes=number - 1),
            f"GS-2026A-Q-77-1-00{number}",
            object="Secret target",
            release="2026-07-01" if number < 3 else "2099-01-01",
            proprietary_coordinates=number == 4,
        )
        for number in range(1, 5)
    ]
    wholly = [
        Exposure(
            f"S20260411S000{number}.fits",
            first + timedelta(days=1, minutes=number),
            f"GS-2026A-Q-78-1-00{number}",
            object="Other target",
            release="2099-01-01",
        )
        for number in range(1, 4)
    ]
    return partly + wholly


def odd() -> list[Exposure]:
    """Files stored or described in unusual ways."""
    day = datetime(2017, 6, 1, 5, 0)
    label = "GS-2017A-Q-30-1-00"
    return [
        Exposure("S20170601S0001.fits", day, f"{label}1", packed=False),
        Exposure("S20170601S0002.fits", day + timedelta(minutes=1), f"{label}2", seconds=61.0, present=False),
        Exposure("S20170601S0002.fits", day + timedelta(minutes=1), f"{label}2"),
        Exposure("S20170601S0003.fits", day + timedelta(minutes=2), f"{label}3", qa_state="Fail"),
        Exposure("twice_named.fits", day + timedelta(minutes=3), f"{label}4", path="first"),
        Exposure("twice_named.fits", day + timedelta(minutes=4), f"{label}5", path="second"),
        Exposure("S20170601S0006.fits", day + timedelta(minutes=5), f"{label}6", engineering=True),
    ]


PROGRAMS = {"tutorial": tutorial, "proprietary": proprietary, "odd": odd}


def fits_bytes(exposure: Exposure) -> bytes:
    """A GSAOI file with four arrays of 32x32 pixels, the centre of the real ones."""
    primary = fits.PrimaryHDU()
    primary.header.update(_primary_cards(exposure))
    units = [primary, *(_array(exposure, index) for index in range(4))]
    buffer = io.BytesIO()
    fits.HDUList(units).writeto(buffer)
    return buffer.getvalue()


def _primary_cards(exposure: Exposure) -> dict[str, Any]:
    return {
        "INSTRUME": "GSAOI",
        "DETECTOR": "GSAOI",
        "TELESCOP": "Gemini-South",
        "OBSERVAT": "Gemini-South",
        "OBJECT": exposure.object,
        "OBSTYPE": exposure.kind,
        "OBSCLASS": exposure.exposure_class,
        "GEMPRGID": exposure.program,
        "OBSID": exposure.observation,
        "DATALAB": exposure.label,
        "DATE-OBS": exposure.moment.date().isoformat(),
        "UT": exposure.moment.time().isoformat(),
        "LT": (exposure.moment - timedelta(hours=4)).time().isoformat(),
        "FILTER1": "Kshort_G1105",
        "FILTER2": "Clear",
        "EXPTIME": exposure.seconds,
        "COADDS": 1,
        "LNRS": 8,
        "READMODE": "FOWLER",
        "WAVELENG": 21500.0,
        "RA": 201.3578,
        "DEC": -43.0331,
        "PA": 0.0,
        "POFFSET": exposure.offset[0],
        "QOFFSET": exposure.offset[1],
        "RAOFFSET": exposure.offset[0],
        "DECOFFSE": exposure.offset[1],
        "FRAME": "AZEL_TOPO" if exposure.exposure_class == "dayCal" else "FK5",
        "TRKFRAME": "FK5",
        "RATRACK": 0.0,
        "DECTRACK": 0.0,
        "AIRMASS": 1.125,
        "INPORT": 1,
        "RAWGEMQA": "USABLE",
        "RAWPIREQ": "YES",
        "RAWIQ": "70-percentile",
        "RAWCC": "50-percentile",
        "RAWBG": "Any",
        "RAWWV": "Any",
        "AOFOLD": "IN",
    }


def _array(exposure: Exposure, index: int) -> fits.ImageHDU:
    seed = int.from_bytes(hashlib.sha256(f"{exposure}{index}".encode()).digest()[:4])
    pixels = np.random.default_rng(seed).poisson(1000, (SIDE, SIDE)).astype(np.float32)
    if exposure.kind == "BPM":
        pixels = (pixels > 1080).astype(np.int16)
    low = 1024 - SIDE // 2
    x, y = DETECTOR_ORIGINS[index]
    unit = fits.ImageHDU(pixels)
    unit.header.update(
        {
            "EXTVER": index + 1,
            "ARRAYID": ARRAYS[index],
            "CCDSEC": f"[{low + 1}:{low + SIDE},{low + 1}:{low + SIDE}]",
            "DETSEC": f"[{x + low + 1}:{x + low + SIDE},{y + low + 1}:{y + low + SIDE}]",
            "DATASEC": f"[1:{SIDE},1:{SIDE}]",
            "CCDSUM": "1 1",
            "CTYPE1": "RA---TAN",
            "CTYPE2": "DEC--TAN",
            "CRVAL1": 201.3578,
            "CRVAL2": -43.0331,
            "CRPIX1": SIDE / 2 + (1100 if x == 0 else -1100),
            "CRPIX2": SIDE / 2 + (1100 if y == 0 else -1100),
            "CD1_1": 0.0197 / 3600,
            "CD1_2": 0.0,
            "CD2_1": 0.0,
            "CD2_2": 0.0197 / 3600,
            "RADECSYS": "FK5",
        }
    )
    return unit


def _store(folder: Path, exposure: Exposure, number: int) -> dict[str, Any]:
    data = fits_bytes(exposure)
    stored = bz2.compress(data, 1) if exposure.packed else data
    filename = exposure.name + (".bz2" if exposure.packed else "")
    if exposure.present:
        target = folder / exposure.path / filename
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(stored)
    extra = {
        "proprietary_coordinates": exposure.proprietary_coordinates,
        "associated": exposure.associated,
    }
    return {
        **_file_record(exposure, filename, data, stored, number),
        **_header_record(exposure),
        **_quality_record(exposure),
        "_extra": extra,
    }


def _file_record(
    exposure: Exposure, filename: str, data: bytes, stored: bytes, number: int
) -> dict[str, Any]:
    entered = datetime(2026, 1, 2, 3, 4, 5, 146437) + timedelta(seconds=number)
    file_md5, data_md5 = (hashlib.md5(content).hexdigest() for content in (stored, data))
    return {
        "name": exposure.name,
        "filename": filename,
        "path": exposure.path,
        "compressed": exposure.packed,
        "file_size": len(stored),
        "data_size": len(data),
        "file_md5": file_md5,
        "data_md5": data_md5,
        "lastmod": f"{entered}+00:00",
        "mdready": True,
        "entrytime": f"{entered}+00:00",
        "present": exposure.present,
        "canonical": exposure.present,
        "size": len(stored),
        "md5": file_md5,
        "pending_ingest": False,
    }


def _header_record(exposure: Exposure) -> dict[str, Any]:
    on_sky = exposure.exposure_class in {"science", "partnerCal"}
    return {
        "program_id": exposure.program,
        "engineering": exposure.engineering,
        "science_verification": False,
        "processing": "Raw" if exposure.reduction == "RAW" else "Science-Quality",
        "calibration_program": exposure.program.startswith("GS-CAL"),
        "observation_id": exposure.observation,
        "data_label": exposure.label,
        "telescope": "Gemini-South",
        "instrument": "GSAOI",
        "ut_datetime": f"{exposure.moment}",
        "local_time": f"{(exposure.moment - timedelta(hours=4)).time()}",
        "observation_type": exposure.kind,
        "observation_class": exposure.exposure_class,
        "object": exposure.object,
        "ra": 201.3578 if on_sky else None,
        "dec": -43.0331 if on_sky else None,
        "azimuth": 181.2,
        "elevation": 62.5,
        "cass_rotator_pa": -45.2,
        "airmass": 1.125,
        "filter_name": None if exposure.kind == "BPM" else "Kshort",
        "exposure_time": exposure.seconds,
        "disperser": None,
        "camera": "GSAOI",
        "central_wavelength": None,
        "wavelength_band": "K",
        "focal_plane_mask": None,
        "detector_binning": "1x1",
        "detector_gain_setting": None,
        "detector_roi_setting": "Fixed",
        "detector_readspeed_setting": None,
        "detector_welldepth_setting": None,
        "detector_readmode_setting": "FOWLER",
        "spectroscopy": False,
        "mode": "imaging",
        "adaptive_optics": exposure.exposure_class == "science",
        "laser_guide_star": exposure.exposure_class == "science",
        "wavefront_sensor": "AOWFS",
        "gcal_lamp": None,
    }


def _quality_record(exposure: Exposure) -> dict[str, Any]:
    tags = "'RAW', 'UNPREPARED'" if exposure.reduction == "RAW" else "'BPM', 'PROCESSED'"
    return {
        "raw_iq": 70,
        "raw_cc": 50,
        "raw_wv": 100,
        "raw_bg": 100,
        "requested_iq": 70,
        "requested_cc": 50,
        "requested_wv": 100,
        "requested_bg": 100,
        "qa_state": exposure.qa_state,
        "release": exposure.release,
        "reduction": exposure.reduction,
        "types": f"{{'GSAOI', 'GEMINI', 'SOUTH', {tags}}}",
        "phot_standard": None,
    }
