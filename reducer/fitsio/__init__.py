"""The only room that touches FITS files: what is read of frames, and how they are written."""

from dataclasses import dataclass

from reducer.fitsio.reading import (
    is_whole,
    key_of,
    open_frame,
    read_chip,
    read_headers,
    read_image,
    read_planes,
    read_table,
    units_of,
)
from reducer.fitsio.writing import save_frame, write_frame

__all__ = [
    "Disk",
    "is_whole",
    "key_of",
    "open_frame",
    "read_chip",
    "read_headers",
    "read_image",
    "read_planes",
    "read_table",
    "save_frame",
    "units_of",
    "write_frame",
]


@dataclass(frozen=True)
class Disk:
    """Reading and writing as one picklable object, for steps, which may not import this file."""

    open_frame = staticmethod(open_frame)
    read_chip = staticmethod(read_chip)
    read_planes = staticmethod(read_planes)
    read_image = staticmethod(read_image)
    read_table = staticmethod(read_table)
    save_frame = staticmethod(save_frame)
    write_frame = staticmethod(write_frame)
