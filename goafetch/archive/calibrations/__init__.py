"""Which calibrations the archive offers, and which of them are right."""
