"""The workshop: pixels of GSAOI exposures in, calibrated frames and stacks out; no archive, no network."""
