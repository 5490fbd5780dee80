"""Records as an astropy table with the columns of astroquery.gemini, typed and masked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from goafetch.archive.records import Record

if TYPE_CHECKING:
    from astropy.table import MaskedColumn, Table

#: astroquery.gemini's columns in its order (astroquery 0.4.11, gemini/core.py).
COLUMNS = (
    *("exposure_time", "detector_roi_setting", "detector_welldepth_setting", "telescope", "mdready"),
    *("requested_bg", "engineering", "cass_rotator_pa", "ut_datetime", "file_size", "types", "requested_wv"),
    *("detector_readspeed_setting", "size", "laser_guide_star", "observation_id", "science_verification"),
    *("raw_cc", "filename", "instrument", "reduction", "camera", "ra", "detector_binning", "lastmod"),
    *("wavelength_band", "data_size", "mode", "raw_iq", "airmass", "elevation", "data_label"),
    *("requested_iq", "object", "requested_cc", "program_id", "file_md5", "central_wavelength", "raw_wv"),
    *("compressed", "filter_name", "detector_gain_setting", "path", "observation_class", "qa_state"),
    *("observation_type", "calibration_program", "md5", "adaptive_optics", "name", "focal_plane_mask"),
    *("data_md5", "raw_bg", "disperser", "wavefront_sensor", "gcal_lamp", "detector_readmode_setting"),
    *("phot_standard", "local_time", "spectroscopy", "azimuth", "release", "dec"),
)
#: NumPy's type for each of ours, and what stands in a masked place.
_DTYPES: dict[str, tuple[str, Any]] = {
    "str": ("str", ""),
    "bool": ("bool", False),
    "int": ("int64", 0),
    "float": ("float64", 0.0),
    "datetime": ("datetime64[us]", "1970-01-01"),
    "date": ("datetime64[D]", "1970-01-01"),
    "frozenset[str]": ("str", ""),
}
_UNITS = {
    **dict.fromkeys(("ra", "dec", "azimuth", "elevation", "cass_rotator_pa"), "deg"),
    "exposure_time": "s",
    "central_wavelength": "um",
    **dict.fromkeys(("file_size", "data_size", "size"), "byte"),
}


def to_table(records: Sequence[Record]) -> Table:
    """A masked astropy table, one row per record; UTC times as datetime64, tags as sorted words."""
    from astropy.table import Table

    kinds = {f.name: str(f.type).removesuffix(" | None") for f in fields(Record)}
    return Table([_column(name, kinds[name], records) for name in COLUMNS], masked=True)


def _column(name: str, kind: str, records: Sequence[Record]) -> MaskedColumn:
    import numpy as np
    from astropy.table import MaskedColumn

    dtype, filler = _DTYPES[kind]
    values = [_plain(getattr(record, name)) for record in records]
    mask = [value is None for value in values]
    data = np.array([filler if value is None else value for value in values], dtype=dtype)
    return MaskedColumn(data, name=name, mask=mask, unit=_UNITS.get(name))


def _plain(value: Any) -> Any:
    return " ".join(sorted(value)) if isinstance(value, frozenset) else value
