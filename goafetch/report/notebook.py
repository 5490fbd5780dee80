"""Pictures of products that show themselves in a notebook."""

from __future__ import annotations

import base64
import html
from dataclasses import dataclass
from pathlib import Path

from goafetch.report.drawing.settings import drawn_plainly


@dataclass(frozen=True)
class Picture:
    """A picture of a product: shows itself in a notebook; ``save`` writes it as PNG."""

    png: bytes
    caption: str

    def _repr_html_(self) -> str:
        source = base64.b64encode(self.png).decode("ascii")
        words = html.escape(self.caption)
        return f'<figure><img alt="{words}" src="data:image/png;base64,{source}"><p>{words}</p></figure>'

    def save(self, path: str | Path) -> Path:
        """Write the PNG and return its path."""
        Path(path).write_bytes(self.png)
        return Path(path)


@drawn_plainly
def view(product: str | Path) -> Picture:
    """A picture of a product: a stack with axes in RA and Dec, any other with its arrays as they lie.

    Raises reducer.errors.BadFile for what is not a product or exposure of GSAOI.
    """
    from goafetch.report.drawing.pictures import draw_stack, paint_mosaic
    from goafetch.report.products import read_mosaic, read_stack
    from reducer.fitsio import open_frame

    path = Path(product)
    frame = open_frame(path)
    if len(frame.chips) == 1 and "TEXPTIME" in frame.header:
        return Picture(draw_stack(read_stack(path)), f"{path.name}: stack, asinh stretch; blue: no data")
    return Picture(paint_mosaic(read_mosaic(path)), f"{path.name}: the arrays as they lie on the focal plane")
