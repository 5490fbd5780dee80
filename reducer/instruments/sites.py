"""Where telescopes stand."""

from __future__ import annotations

from reducer.astrometry import Site, air

#: Gemini South, from the observatory's pages: at 2722 m.
CERRO_PACHON = Site(-70.73669, -30.24075, air(733.0, 8.0))
