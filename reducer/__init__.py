"""The workshop: exposures in, calibrated frames and stacks out; no archive, no network."""
