"""Random nights, with what goes wrong in them, from raw files to stack: nothing that is wrong goes unsaid."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.prove
def test_two_hundred_random_nights(tmp_path):
    line = [sys.executable, BENCHMARKS / "nights.py", "1000", "200", "--folder", tmp_path, "--workers", "2"]
    found = subprocess.run(line, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout[-8000:] + found.stderr[-2000:]
