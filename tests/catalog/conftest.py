"""What the tests of catalogues and magnitudes share."""

from functools import partial

import pytest
from drawn_standard import draw_standard


@pytest.fixture
def standard(tmp_path):
    """Draw a standard: (frames, context with its magnitude in a table, transparencies, what is said)."""
    return partial(draw_standard, tmp_path)
