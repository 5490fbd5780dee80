"""The cellar: which calibration fits which exposure, and why the others do not."""
