"""Other programs read the catalogue that lies beside the report."""

import re

import numpy as np
from astropy.table import Table
from small_workspace import stack_pixels


def test_ecsv_holds_every_source_with_units(workspace, page):
    table = Table.read(page.parent / "S20170505S0095_image.ecsv")
    places = stack_pixels()[-1]
    assert len(table) == len(places)
    assert table["X_IMAGE"].unit == "pix"
    np.testing.assert_allclose(table["X_IMAGE"], [x + 1 for x, _ in places])


def test_regions_are_circles_on_the_sources(workspace, page):
    text = (page.parent / "S20170505S0095_image.reg").read_text()
    circles = re.findall(r"circle\(([\d.]+),([\d.]+),([\d.]+)\)", text)
    places = [(x + 1.0, y + 1.0) for x, y in stack_pixels()[-1]]
    assert [(float(x), float(y)) for x, y, _ in circles] == places
