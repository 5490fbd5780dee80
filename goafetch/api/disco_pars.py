"""The tutorial's ``disco_pars``: what alignment and stacking use unless told otherwise."""

from __future__ import annotations

#: Search radius for the shift between exposures, and matching radius afterwards, arcsec.
OBJCAT_ALIGN_RADIUS = (5.0, 0.1)
#: Highest order of the polynomial between exposures.
OBJCAT_POLY_DEGREE = 3
#: The same two radii against a reference catalogue, arcsec.
REFCAT_ALIGN_RADIUS = (10.0, 0.2)
#: Fewest stars of the catalogue to trust a solution.
REFCAT_MIN_MATCHES = 5
#: Highest order of the polynomial to the catalogue.
REFCAT_POLY_DEGREE = 3
#: Arcsec per pixel of the stack.
PIXEL_SCALE = 0.02
