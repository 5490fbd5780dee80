"""`python -m goafetch`: the same as `goafetch`."""

from __future__ import annotations

from goafetch.cli import main

if __name__ == "__main__":
    main()
