"""A small Gemini archive for this machine: simulated GSAOI programs with known truth, served over the archive's HTTP API."""
