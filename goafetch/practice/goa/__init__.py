"""What the practice archive knows and says: words, holdings, calibrations, answers, faults."""
