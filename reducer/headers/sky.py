"""What makes an exposure of empty sky serve another one."""

from __future__ import annotations

#: Side of the field of the four arrays, arcsec.
FIELD = 85.0
#: Part of an exposure's time that its sky must have at least: below, the sky's noise, scaled, would prevail.
SHORTEST = 0.25
