"""The tags of frames, word for word those of the published tutorial."""

from __future__ import annotations

from typing import Any

import pytest
from astropy.io import fits

from reducer.headers.descriptors import TAGS, tags

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
        (
            SKY | {"OBSTYPE": "FLAT", "GCALLAMP": "IRhigh", "GCALSHUT": "OPEN"},
            "CAL FLAT GCALFLAT GCAL_IR_ON GEMINI GSAOI IMAGE LAMPON RAW SIDEREAL SOUTH UNPREPARED",
        ),
        (
            SKY | {"OBSTYPE": "FLAT", "GCALLAMP": "QH100W", "GCALSHUT": "CLOSED"},
            "CAL FLAT GCALFLAT GCAL_IR_OFF GEMINI GSAOI IMAGE LAMPOFF RAW SIDEREAL SOUTH UNPREPARED",
        ),
        (
            SKY | {"OBSTYPE": "FLAT", "GCALLAMP": "QH", "GCALSHUT": "OPEN", "GIFLAT": "t", "GEM-TLM": "t"},
            "CAL FLAT GCALFLAT GEMINI GSAOI IMAGE PROCESSED SIDEREAL SOUTH UNPREPARED",
        ),
        (DOME | {"BPMASK": "t", "GEM-TLM": "t"}, "BPM CAL GEMINI GSAOI PROCESSED SOUTH UNPREPARED"),
        (BASE | {"OBSTYPE": "BPM", "GEM-TLM": "t"}, "BPM CAL GEMINI GSAOI PROCESSED SOUTH UNPREPARED"),
    ],
)  # fmt: skip
def test_tags_word_for_word(header: dict[str, Any], words: str) -> None:
    assert of(header) == words
    # A shell offers them, and a wrong one is told by them.
    assert set(words.split()) - TAGS <= {"GSAOI"}


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        ({"INSTRUME": "F2", "GRISM": "Open"}, "F2 IMAGE"),
        ({"INSTRUME": "F2", "GRISM": "JH_G5801"}, "F2 SPECT"),
        ({"INSTRUME": "GNIRS", "ACQMIR": "In"}, "GNIRS IMAGE"),
        ({"INSTRUME": "GNIRS", "ACQMIR": "Out"}, "GNIRS SPECT"),
        ({"INSTRUME": "NIRI", "FILTER3": "pupil38_G5207"}, "IMAGE NIRI"),
        ({"INSTRUME": "NIRI", "FILTER3": "Kgrism_G0101"}, "NIRI SPECT"),
        ({"INSTRUME": "GMOS-S", "GRATING": "MIRROR"}, "GMOS IMAGE"),
        ({"INSTRUME": "GMOS-N", "GRATING": "R400+_G5305"}, "GMOS SPECT"),
        ({"INSTRUME": "NIFS"}, "NIFS SPECT"),
    ],
)
def test_other_instruments_are_named_and_their_spectra_are_no_images(
    header: dict[str, Any], kind: str
) -> None:
    words = {*kind.split(), "GEMINI", "RAW", "SIDEREAL", "SOUTH", "UNPREPARED"}
    assert of(SKY | header) == " ".join(sorted(words))
