"""From a Gemini program ID to a stacked, calibrated GSAOI image with one command."""

from __future__ import annotations

__version__ = "0.1.0"
