"""Which calibrations GSAOI needs, and by which rule each fits (FitsStorage, calibration_gsaoi.py)."""

from __future__ import annotations

from collections.abc import Mapping

from reducer.instruments.base import CalibrationRule

#: Days over which archive and observatory associate flats and standards.
DAYS = 30.0
#: How it was read.
READOUT = ("exposure_time", "coadds", "read_mode")

#: Lamp-on frames are sought for a science frame; lamp-off frames for a lamp-on frame, with which they form
#: one set.
CALIBRATIONS: Mapping[str, CalibrationRule] = {
    "processed_flat": CalibrationRule(same=("filter_name",), covers=True, days=DAYS),
    "lamp_on": CalibrationRule(
        same=("filter_name",), covers=True, days=DAYS, archive="domeflat", sought=("dayCal", "Domeflat", 20)
    ),
    "lamp_off": CalibrationRule(
        same=("filter_name", *READOUT, "region"),
        days=DAYS,
        archive="lampoff_domeflat",
        sought=("dayCal", "Domeflat OFF", 20),
    ),
    "standard": CalibrationRule(
        same=("filter_name",), days=DAYS, archive="photometric_standard", sought=("partnerCal", None, 8)
    ),
    "processed_bpm": CalibrationRule(covers=True, latest=True, archive="processed_bpm"),
    "dark": CalibrationRule(
        same=READOUT, covers=True, days=DAYS, needless="with 0.01 electrons/s a pixel none is needed"
    ),
}
