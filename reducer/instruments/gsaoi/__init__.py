"""GSAOI: four HAWAII-2RG arrays at the adaptive optics of Gemini South."""

from __future__ import annotations

from reducer.instruments.base import Array, Filter, Instrument, read_data
from reducer.instruments.gsaoi.guiding import guide_windows, guided_by
from reducer.instruments.gsaoi.header import detector_offset, filter_name, parity, repairs, section
from reducer.instruments.gsaoi.readout import ARRAYS, ORIGINS, SIDE, levels, read_mode


def _filters() -> dict[str, Filter]:
    table = read_data("gsaoi", "filters")
    zeropoints, extinction = (
        table["nominal_zeropoint_mag_for_1_electron_per_s"],
        table["extinction_mag_per_airmass"],
    )
    return {
        name: Filter(micron, tuple(zeropoints.get(name, {}).values()), extinction.get(name))
        for name, micron in table["filter_wavelength_um"].items()
    }


GSAOI = Instrument(
    name="GSAOI",
    arrays=tuple(
        Array(number, name, (SIDE, SIDE), (x, y), (x / SIDE - 1, y / SIDE - 1), border=4)
        for number, (name, (x, y)) in enumerate(zip(ARRAYS, ORIGINS, strict=True), 1)
    ),
    field_side=85.0,
    reference_scale=0.0197,
    filters=_filters(),
    lit_alone=frozenset({"Z", "J", "HeI1083", "PaG", "PaB", "Jcont", "Hcont"}),
    coadds_are_summed=False,
    filter_name=filter_name,
    read_mode=read_mode,
    levels=levels,
    section=section,
    guide_windows=guide_windows,
    guided_by=guided_by,
    parity=parity,
    detector_offset=detector_offset,
    repairs=repairs,
)
