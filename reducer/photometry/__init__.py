"""Magnitudes: what a star's light adds up to, which stars are standards, and the zeropoint that follows."""
