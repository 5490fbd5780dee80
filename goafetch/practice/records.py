"""The archive's record of each simulated file, with the keys of a real /jsonsummary answer in their order."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from goafetch.practice.exposure.headers import CLASSES, reference_position
from goafetch.practice.exposure.night import Exposure
from goafetch.practice.exposure.optics import read_data
from goafetch.practice.exposure.scene import Field


@dataclass(frozen=True)
class FileFacts:
    """A file as stored, and its FITS content: sizes in bytes, md5 sums."""

    filename: str
    size: int
    md5: str
    data_size: int
    data_md5: str
    compressed: bool


#: Magnitudes in the archive's table of photometric standards.
BANDS = ("u", "v", "g", "r", "i", "z", "y", "j", "h", "k", "lprime", "m")


def archive_standards(field: Field) -> list[dict[str, Any]]:
    """What the archive says of a standard's field: its first star, of the same magnitude in J, H and K."""
    known = {f"{band}_mag": None for band in BANDS} | {
        f"{band}_mag": round(float(field.magnitude[0]), 3) for band in "jhk"
    }
    return [{"name": field.name, "field": field.name, "ra": field.ra, "dec": field.dec, **known}]


def holding(exposure: Exposure, facts: FileFacts, field: Field | None) -> dict[str, Any]:
    """One record; ``_extra`` holds what the server must know and sends not at all, or elsewhere."""
    return {
        **_file_keys(exposure, facts),
        **_program_keys(exposure),
        **_sky_keys(exposure),
        **_instrument_keys(exposure),
        **_quality_keys(exposure),
        "_extra": {
            "proprietary_coordinates": exposure.coordinates_withheld,
            "associated": exposure.kind != "mask",
            "coadds": exposure.coadds,
            "standards": archive_standards(field) if exposure.kind == "standard" and field else [],
        },
    }


def _file_keys(exposure: Exposure, facts: FileFacts) -> dict[str, Any]:
    taken = exposure.begin + timedelta(seconds=exposure.exptime * exposure.coadds + 240.0)
    stamp = taken.strftime("%Y-%m-%d %H:%M:%S.%f+00:00")
    later = (taken + timedelta(seconds=8)).strftime("%Y-%m-%d %H:%M:%S.%f+00:00")
    return {
        "name": f"{exposure.name}.fits",
        "filename": facts.filename,
        "path": "",
        "compressed": facts.compressed,
        "file_size": facts.size,
        "data_size": facts.data_size,
        "file_md5": facts.md5,
        "data_md5": facts.data_md5,
        "lastmod": stamp,
        "mdready": True,
        "entrytime": later,
        "present": True,
        "canonical": True,
        "size": facts.size,
        "md5": facts.md5,
        "pending_ingest": False,
    }


def _program_keys(exposure: Exposure) -> dict[str, Any]:
    local = exposure.begin - timedelta(hours=3)
    return {
        "program_id": exposure.program,
        "engineering": False,
        "science_verification": False,
        "processing": "Raw",
        "calibration_program": "-CAL" in exposure.program,
        "observation_id": exposure.observation,
        "data_label": f"{exposure.observation}-{exposure.number:03d}",
        "telescope": "Gemini-South",
        "instrument": "GSAOI",
        "ut_datetime": exposure.begin.strftime("%Y-%m-%d %H:%M:%S"),
        "local_time": local.strftime("%H:%M:%S"),
        "observation_type": {"dark": "DARK", "mask": "BPM"}.get(exposure.kind, "OBJECT"),
        "observation_class": CLASSES[exposure.kind],
        "object": exposure.target,
    }


def _sky_keys(exposure: Exposure) -> dict[str, Any]:
    on_sky = bool(exposure.field)
    ra, dec = reference_position(exposure)
    where = exposure.pointing()
    return {
        "ra": ra if on_sky else None,
        "dec": dec if on_sky else None,
        "azimuth": where.azimuth if exposure.kind != "mask" else None,
        "elevation": where.elevation if exposure.kind != "mask" else None,
        "cass_rotator_pa": where.parallactic if exposure.kind != "mask" else None,
        "airmass": round(where.airmass, 3) if exposure.kind != "mask" else None,
    }


def _instrument_keys(exposure: Exposure) -> dict[str, Any]:
    mask = exposure.kind == "mask"
    unknown = {"unknown filter", "lost filter"} & exposure.trouble
    name = "Unknown" if unknown else exposure.filter_name
    guided = exposure.kind == "science"
    return {
        "filter_name": name,
        "exposure_time": exposure.exptime * exposure.coadds,
        "disperser": None,
        "camera": "GSAOI",
        "central_wavelength": None,
        "wavelength_band": None if mask else _band(exposure.filter_name),
        "focal_plane_mask": None,
        "detector_binning": "1x1",
        "detector_gain_setting": None,
        "detector_roi_setting": "Fixed",
        "detector_readspeed_setting": None,
        "detector_welldepth_setting": None,
        "detector_readmode_setting": None if mask else "FOWLER",
        "spectroscopy": False,
        "mode": "imaging",
        "adaptive_optics": exposure.kind in ("science", "sky"),
        "laser_guide_star": guided,
        "wavefront_sensor": "GEMS" if guided else None,
        "gcal_lamp": None,
    }


def _band(filter_name: str) -> str:
    """The photometric band nearest to a filter's wavelength."""
    micron = read_data("filters")["filter_wavelength_um"].get(filter_name, 2.2)
    return min({"J": 1.25, "H": 1.65, "K": 2.2}.items(), key=lambda band: abs(band[1] - micron))[0]


def _quality_keys(exposure: Exposure) -> dict[str, Any]:
    mask = exposure.kind == "mask"
    on_sky = bool(exposure.field)
    return {
        "raw_iq": None if mask else 70,
        "raw_cc": None if mask else 50,
        "raw_wv": None if mask else 100,
        "raw_bg": None if mask else 100,
        "requested_iq": 70 if on_sky else None,
        "requested_cc": 50 if on_sky else None,
        "requested_wv": 100 if on_sky else None,
        "requested_bg": 100 if on_sky else None,
        "qa_state": "Undefined" if mask else "Pass",
        "release": exposure.release,
        "reduction": "PROCESSED_BPM" if mask else "RAW",
        "types": _types(exposure),
        "phot_standard": True if exposure.kind == "standard" else None,
    }


def _types(exposure: Exposure) -> str:
    """The tags that the archive knows, as it prints them: a Python set."""
    tags = ["GSAOI", "GEMINI", "SOUTH", "RAW", "UNPREPARED"]
    if exposure.kind == "mask":
        tags = ["GSAOI", "GEMINI", "SOUTH", "BPM", "CAL", "PROCESSED"]
    elif exposure.kind == "dark":
        tags += ["DARK", "CAL", "AZEL_TARGET"]
    elif exposure.kind in ("lamp-on", "lamp-off"):
        lamp = "LAMPON" if exposure.kind == "lamp-on" else "LAMPOFF"
        tags += ["IMAGE", "DOMEFLAT", "FLAT", "CAL", lamp, "AZEL_TARGET", "AT_ZENITH"]
    else:
        tags += ["IMAGE", "SIDEREAL"]
    return "{" + ", ".join(f"'{tag}'" for tag in tags) + "}"
