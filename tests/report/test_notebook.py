"""Products and tables show themselves in a notebook."""

import pytest
from matplotlib.image import imread

from goafetch.report import view
from goafetch.report.notebook import table_html
from reducer.errors import BadFile


@pytest.mark.parametrize(
    ("product", "words"),
    [
        ("playground/S20170505S0095_image.fits", "stack"),
        ("playground/calibrations/processed_flat/S20170505S0030_flat.fits", "arrays"),
    ],
)
def test_a_product_is_a_picture_with_words(workspace, tmp_path, product, words):
    picture = view(workspace / product)
    assert words in picture.caption and picture.caption in picture._repr_html_()
    pixels = imread(picture.save(tmp_path / "picture.png"))
    assert min(pixels.shape[:2]) > 300
    assert pixels[..., 0].std() > 0.1


def test_what_is_no_product_is_refused(tmp_path):
    (tmp_path / "x.fits").write_bytes(b"SIMPLE")
    with pytest.raises(BadFile):
        view(tmp_path / "x.fits")


def test_a_table_escapes_what_it_shows():
    text = table_html([{"name": "<b>", "n": 1}], "A & B")
    assert "&lt;b&gt;" in text and "A &amp; B" in text and "<b>" not in text
