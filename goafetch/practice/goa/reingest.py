"""A file that is ingested anew while clients are at work: another version under the same name."""

from __future__ import annotations

import bz2
import hashlib
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from goafetch.practice.goa.holdings import Holding

_CARD = 80


def reingest(holdings: list[Holding], old: Holding, attic: Path, now: datetime) -> Holding:
    """Put a new version, kept in the folder ``attic``, in the place of an old one, and give it.

    Only the comment of the first card differs: as long as before unpacked, of another length as stored.
    """
    packed = bool(old.row["compressed"])
    stored = old.file.read_bytes()
    data = bz2.decompress(stored) if packed else stored
    data = (data[:30].ljust(30) + b" / ingested anew").ljust(_CARD) + data[_CARD:]
    content = bz2.compress(data, 1) if packed else data
    file = attic / old.stored_name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    md5, data_md5 = (hashlib.md5(each).hexdigest() for each in (content, data))  # noqa: S324 - the archive's
    moment = f"{now.replace(tzinfo=None)}+00:00"
    facts = {"file_size": len(content), "size": len(content), "file_md5": md5, "md5": md5}
    facts |= {"data_size": len(data), "data_md5": data_md5, "lastmod": moment, "entrytime": moment}
    new = replace(old, row={**old.row, **facts}, file=file)
    holdings[holdings.index(old)] = replace(old, row={**old.row, "present": False, "canonical": False})
    holdings.append(new)
    return new
