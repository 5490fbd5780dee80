"""Magnitudes: what a star's light adds up to, the catalogue of a stack, and the zeropoint."""
