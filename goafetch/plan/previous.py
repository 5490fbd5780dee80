"""The flat that a new one is compared with: the latest before it that the store's rules accept."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from calstore.associate import PROCESSED_FLAT, Calibration, Traits, rank
from goafetch.needs import need


def previous_flat(made: Traits, stored: Iterable[Calibration]) -> Path | None:
    """The stored flat of the same filter, taken before the frames of a new one; None without any."""
    sought = need(
        PROCESSED_FLAT,
        when=made.when,
        instrument=made.instrument,
        filter_name=made.filter_name,
        region=made.region,
    )
    fitting = rank(sought, [known for known in stored if known.when < made.when])[0]
    return Path(max(fitting, key=lambda known: known.when).path) if fitting else None
