"""Check that every dependency can be had as a wheel, for every platform and Python that README names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PLATFORMS = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28", "aarch64-apple-darwin", "x86_64-apple-darwin")
PYTHONS = ("3.11", "3.12", "3.13")
ROOT = Path(__file__).parent.parent


def resolve(platform: str, python: str) -> str:
    """'' if all dependencies resolve to wheels, else what uv says."""
    command = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "compile",
        "--quiet",
        "--no-header",
        "--only-binary",
        ":all:",
    ]
    command += ["--python-platform", platform, "--python-version", python, str(ROOT / "pyproject.toml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr.strip()


def main() -> int:
    """Print a line for each combination; the number of those that fail is the exit code."""
    failures = 0
    for platform in PLATFORMS:
        for python in PYTHONS:
            problem = resolve(platform, python)
            failures += bool(problem)
            print(f"{platform:24} {python}  {problem or 'resolved'}")
    return failures


if __name__ == "__main__":
    sys.exit(main())
