"""A small Gemini archive for this machine: simulated GSAOI programs behind the archive's HTTP interface."""
