"""What a frame needs of a kind of calibration, by its instrument's rule, which the store then goes by."""

from __future__ import annotations

from typing import Any

from calstore.associate import Need
from goafetch.errors import GoafetchError


def need(kind: str, *, instrument: str, **traits: Any) -> Need:
    """What a frame of an instrument, with these traits, needs; GoafetchError without a rule for the kind."""
    from reducer.instruments import KNOWN

    rules = KNOWN[instrument].calibrations if instrument in KNOWN else {}
    if kind not in rules:
        raise GoafetchError(
            f"there is no rule for {kind!r} of {instrument or 'an unknown instrument'}",
            f"one of {', '.join(rules)}" if rules else f"a frame of {' or '.join(KNOWN)}",
        )
    return Need(kind=kind, instrument=instrument, rule=rules[kind], **traits)
