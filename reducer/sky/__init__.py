"""The sky in an exposure: where it is free, its level, its pattern, the offsets of the readout channels."""
