"""Turn matplotlib figures into pictures that take on the page's colours, light or dark."""

from __future__ import annotations

import base64
import functools
import io
import re
import sys
import threading
from collections.abc import Callable
from contextlib import chdir, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np

from goafetch.system import environment, scratch
from reducer.types import F32

if TYPE_CHECKING:
    from matplotlib.figure import Figure


P = ParamSpec("P")
R = TypeVar("R")
_once = threading.Lock()


def drawn_plainly(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function draw with matplotlib's own settings; those that it found are back afterwards."""

    @functools.wraps(function)
    def draw(*args: P.args, **named: P.kwargs) -> R:
        matplotlib = _import()
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            return function(*args, **named)

    return draw


def _import() -> Any:
    """matplotlib; imported here, it reads no file of the user's and keeps its list of fonts in our cache."""
    with _once:
        if "matplotlib.font_manager" not in sys.modules:
            own = scratch() / "matplotlib"
            away = chdir(scratch()) if Path("matplotlibrc").exists() else nullcontext()
            with environment(MPLBACKEND="agg", MPLCONFIGDIR=str(own), MATPLOTLIBRC=None), away:
                import matplotlib.font_manager
        import matplotlib
    return matplotlib


#: A colour that no picture uses: it stands for the page's own text colour.
INK = "#010203"
#: Distinct in both themes and to colour-blind eyes (Wong 2011, Nature Methods 8, 441).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
#: Margins of figures in inches, for numbers and a label.
LEFT, BELOW = 0.72, 0.48


def new_figure(width: float, height: float, right: float = 0.15, top: float = 0.12) -> Figure:
    """An empty figure of a size in inches, drawn in the page's ink on no background.

    ``right`` and ``top``: margins in inches; those at the left and below hold numbers and a label. Margins
    that matplotlib finds by itself take half of the time of a whole report.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor="none")
    edges = {
        "left": LEFT / width,
        "right": 1 - right / width,
        "bottom": BELOW / height,
        "top": 1 - top / height,
    }
    figure.subplots_adjust(**edges)
    return figure


def new_axes(figure: Figure, place: int = 111, **options: Any) -> Any:
    """Axes whose frame, ticks and labels have the page's ink."""
    axes = figure.add_subplot(place, facecolor="none", **options)
    axes.tick_params(colors=INK, which="both", labelsize=9)
    for item in (axes.xaxis.label, axes.yaxis.label, axes.title):
        item.set_color(INK)
        item.set_fontsize(9.5)
    for side in axes.spines.values():
        side.set_color(INK)
        side.set_linewidth(0.6)
    return axes


def add_legend(axes: Any) -> None:
    """A legend without a box, in the page's ink."""
    axes.legend(frameon=False, labelcolor=INK, fontsize=8.5)


def as_svg(figure: Figure, alt: str, prefix: str) -> str:
    """An inline SVG with a description for those who cannot see it; ``prefix`` keeps its ids unique."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    page = io.StringIO()
    figure.set_dpi(130)
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": prefix, "font.family": "sans-serif"}):
        # The canvas by itself draws once; Figure.savefig draws everything twice.
        FigureCanvasSVG(figure).print_svg(page, metadata={"Date": None, "Creator": None})
    text = page.getvalue()[page.getvalue().index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}-", text).replace(INK, "currentColor")
    text = re.sub(r"font: [\d.]+px[^;\"]*", _plain_font, text)
    size = re.search(r'width="([\d.]+)pt" height="([\d.]+)pt"', text)
    assert size is not None
    head = f'role="img" aria-label="{_escape(alt)}" style="max-width:{float(size[1]) * 4 / 3:.0f}px"'
    return text.replace(size[0], head, 1)


def as_png(figure: Figure, dpi: int = 130) -> bytes:
    """A PNG on a white background."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    figure.set(dpi=dpi, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    page = io.BytesIO()
    # All of it is opaque: three colours are written in less time than four.
    Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").save(page, "png", compress_level=3)
    return page.getvalue()


def as_thumbnail(png: bytes, width: int = 560) -> bytes:
    """A smaller PNG of a PNG."""
    from PIL import Image

    page = io.BytesIO()
    with Image.open(io.BytesIO(png)) as picture:
        picture.thumbnail((width, width))
        picture.convert("RGB").save(page, format="png", optimize=True)
    return page.getvalue()


def as_data(png: bytes) -> str:
    """A PNG as an address that holds it."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def centre_and_spread(image: F32) -> tuple[float, float]:
    """Median and robust standard deviation of the finite pixels of a sample; (0, 1) where there are none."""
    step = max(1, round((image.size / 400_000) ** 0.5))
    sample = image[::step, ::step]
    sample = sample[np.isfinite(sample)]
    if sample.size < 8:
        return 0.0, 1.0
    low, middle, high = np.percentile(sample, (15.87, 50, 84.13))
    for _ in range(3):  # a crowded or nebulous field widens the upper side: the lower one is the noise
        spread = min(middle - low, high - middle) or 1.0
        kept = sample[np.abs(sample - middle) < 4 * spread]
        low, middle, high = np.percentile(kept, (15.87, 50, 84.13))
    return float(middle), float(min(middle - low, high - middle) or 1.0)


@lru_cache(maxsize=8)
def colour_table(name: str) -> bytes:
    """A colour map of matplotlib as 256 x 3 bytes."""
    from matplotlib import colormaps

    return bytes((colormaps[name](np.linspace(0, 1, 256))[:, :3] * 255 + 0.5).astype(np.uint8).tobytes())


def _plain_font(match: re.Match[str]) -> str:
    """Names of fonts are the page's business; sizes are the figure's."""
    size = re.search(r"([\d.]+)px", match[0])
    return f"font: {size[1] if size else 10}px sans-serif"


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")
