"""The Gemini Observatory Archive: searching, fetching, verifying and unpacking."""
