"""What a frame needs is looked for by the rule of its own instrument."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from goafetch.errors import GoafetchError
from goafetch.needs import need
from reducer import instruments
from reducer.instruments.base import CalibrationRule

NIGHT = dt.datetime(2017, 5, 5, 1, 0)


def test_each_instrument_has_rules_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    other = replace(instruments.KNOWN["GSAOI"], calibrations={"processed_flat": CalibrationRule(days=2.0)})
    monkeypatch.setattr(instruments, "KNOWN", {**instruments.KNOWN, "OTHER": other})
    assert need("processed_flat", instrument="GSAOI", when=NIGHT).rule.days == 30
    assert need("processed_flat", instrument="OTHER", when=NIGHT).rule.days == 2


@pytest.mark.parametrize(
    ("instrument", "kind", "words"),
    [("GSAOI", "bias", "'bias' of GSAOI; needed: one of processed_flat"), ("", "dark", "a frame of GSAOI")],
)
def test_a_kind_without_a_rule_is_refused(instrument: str, kind: str, words: str) -> None:
    with pytest.raises(GoafetchError, match=words):
        need(kind, instrument=instrument, when=NIGHT)
