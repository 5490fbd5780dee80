"""The tags of frames, word for word those of the published tutorial."""

from __future__ import annotations

from typing import Any

import pytest
from astropy.io import fits

from reducer.headers.tags import tags

BASE = {"INSTRUME": "GSAOI", "OBSERVAT": "Gemini-South", "TELESCOP": "Gemini-South", "OBSTYPE": "OBJECT"}
SKY = BASE | {"FRAME": "FK5", "TRKFRAME": "FK5", "RATRACK": 0.0, "DECTRACK": 0.0, "OBSCLASS": "science"}
DOME = BASE | {"FRAME": "AZEL_TOPO", "TRKFRAME": "APPT", "OBJECT": "Domeflat", "OBSCLASS": "dayCal"}


def of(header: dict[str, Any]) -> str:
    made = fits.Header()
    made.update(header)
    return " ".join(sorted(tags(made)))


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (SKY | {"OBJECT": "NGC5128"}, "GEMINI GSAOI IMAGE RAW SIDEREAL SOUTH UNPREPARED"),
        (SKY | {"OBJECT": "Comet", "RATRACK": 0.1}, "GEMINI GSAOI IMAGE NON_SIDEREAL RAW SOUTH UNPREPARED"),
        (SKY | {"RATRACK": "none"}, "GEMINI GSAOI IMAGE NON_SIDEREAL RAW SOUTH UNPREPARED"),
        (SKY | {"OBSCLASS": "acq"}, "ACQUISITION GEMINI GSAOI IMAGE RAW SIDEREAL SOUTH UNPREPARED"),
        (DOME, "AZEL_TARGET CAL DOMEFLAT FLAT GEMINI GSAOI IMAGE LAMPON NON_SIDEREAL RAW SOUTH UNPREPARED"),
        (
            DOME | {"OBJECT": "Domeflat OFF"},
            "AZEL_TARGET CAL DOMEFLAT FLAT GEMINI GSAOI IMAGE LAMPOFF NON_SIDEREAL RAW SOUTH UNPREPARED",
        ),
        (
            DOME | {"PREPARE": "t", "GEM-TLM": "t", "PROCFLAT": "t"},
            "AZEL_TARGET CAL DOMEFLAT FLAT GEMINI GSAOI IMAGE LAMPON NON_SIDEREAL PREPARED PROCESSED SOUTH",
        ),
        (SKY | {"PREPARE": "t", "GEM-TLM": "t"}, "GEMINI GSAOI IMAGE PREPARED SIDEREAL SOUTH"),
        (
            SKY | {"PREPARE": "t", "GEM-TLM": "t", "PROCSCI": "t"},
            "GEMINI GSAOI IMAGE PREPARED PROCESSED PROCESSED_SCIENCE SIDEREAL SOUTH",
        ),
        (SKY | {"OBSTYPE": "DARK"}, "CAL DARK GEMINI GSAOI RAW SIDEREAL SOUTH UNPREPARED"),
        (SKY | {"OBJECT": "Twilight"}, "CAL FLAT GEMINI GSAOI IMAGE RAW SIDEREAL SOUTH TWILIGHT UNPREPARED"),
        (
            SKY | {"OBSTYPE": "FLAT", "GCALLAMP": "QH"},
            "CAL FLAT GCALFLAT GEMINI GSAOI IMAGE RAW SIDEREAL SOUTH UNPREPARED",
        ),
        (DOME | {"BPMASK": "t", "GEM-TLM": "t"}, "BPM GEMINI GSAOI SOUTH UNPREPARED"),
        (BASE | {"OBSTYPE": "BPM", "GEM-TLM": "t"}, "BPM GEMINI GSAOI SOUTH UNPREPARED"),
    ],
)  # fmt: skip
def test_tags_word_for_word(header: dict[str, Any], words: str) -> None:
    assert of(header) == words
