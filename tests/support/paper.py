"""An instrument that exists on paper alone: one small array without a name, no border, no filters known."""

from __future__ import annotations

from dataclasses import replace

from reducer.instruments import KNOWN
from reducer.instruments.base import Array, Levels

PAPER = replace(
    KNOWN["GSAOI"],
    name="PAPER",
    arrays=(Array(1, "", (96, 128), (0, 0), (-0.5, -0.5), border=0),),
    filters={},
    coadds_are_summed=True,
    filter_name=lambda primary: primary.get("FILTER"),
    read_mode=lambda primary: "Only",
    guide_windows=lambda primary, array: ((-3, 5, 90, 99),),
    guided_by=lambda primary: (),
    parity=lambda primary: 1.0,
    levels=lambda primary, array: Levels(2.0, 10.0, 40000.0, 20000.0, 30000.0, (1.0, 0.0, 0.0)),
    repairs=(),
)
