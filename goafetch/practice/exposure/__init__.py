"""One simulated GSAOI exposure: its plan and weather, the sky, the optics, the arrays, and its headers."""
