"""Kernels make the same bytes whether they were compiled just now or read from the cache."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CHILD = """
import hashlib
import numpy as np
from reducer import dq
from reducer.astrometry import INVERSE_DEGREE, Inverse
from reducer.align.resample import Planes, resample_chip
from reducer.frame import Chip

rng = np.random.default_rng(5)
data = rng.normal(100.0, 10.0, (160, 160)).astype(np.float32)
mask = np.where(rng.uniform(size=data.shape) < 0.02, dq.BAD, 0).astype(np.uint16)
tables = np.zeros((2, INVERSE_DEGREE + 1, INVERSE_DEGREE + 1))
tables[0, :2, :2] = [[80.0, 0.4], [80.3, 0.2]]
tables[1, :2, :2] = [[79.0, 79.8], [-0.4, 0.1]]
planes = Planes.empty((0, 0), (160, 160))
resample_chip(Chip(data, data, mask, {}), 1, 0, Inverse(tables=tables, u0=80.0, v0=80.0, half=80.0), planes)
assert (planes.array == 1).mean() > 0.8
print(hashlib.sha256(planes.data.tobytes() + planes.variance.tobytes() + planes.mask.tobytes()).hexdigest())
"""


def test_freshly_compiled_kernels_resample_to_the_same_bytes(tmp_path: Path) -> None:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    said = [
        subprocess.run([sys.executable, "-c", CHILD], env=environment, check=True, capture_output=True).stdout
        for _ in range(2)
    ]
    assert said[0] == said[1] and len(said[0]) > 60
