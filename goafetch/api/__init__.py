"""The names of the GSAOI tutorial's Python chapter."""
