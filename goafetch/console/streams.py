"""Standard streams that are closed, full, or whose reader has gone."""

from __future__ import annotations

import os
import sys
from typing import Any, TextIO


class OutputLost(Exception):
    """A result could not be written to standard output; ``code`` is what a shell is to get."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"standard output cannot be written to: {error.strerror}")
        self.code = READER_GONE if isinstance(error, BrokenPipeError) else 1


#: What a shell gets where the reader of a pipe has gone: 128 and the number of SIGPIPE.
READER_GONE = 141


def open_missing() -> None:
    """Open closed standard streams to nowhere: a file that is opened later must not take their place."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def write_result(text: str) -> None:
    """Write to standard output; raises OutputLost."""
    try:
        _write(sys.stdout, text)
    except OSError as error:
        silence(sys.stdout)
        raise OutputLost(error) from error


def write_message(text: str) -> None:
    """Write to standard error; where nobody can read it the work goes on."""
    try:
        _write(sys.stderr, text)
    except OSError:
        silence(sys.stderr)


def silence(stream: TextIO) -> None:
    """Write nothing more to a stream that was lost, not even what is left in it as the process ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _write(stream: TextIO, text: str) -> None:
    """Names of files go out with the bytes that they have; no message dies of an accent."""
    encoding = stream.encoding or "utf-8"
    try:
        content = text.encode(encoding, "surrogateescape")
    except UnicodeEncodeError:
        content = text.encode(encoding, "backslashreplace")
    stream.flush()
    raw: Any = getattr(stream, "buffer", None)
    if raw is None:  # a notebook's
        stream.write(content.decode(encoding, "replace"))
    else:
        raw.write(content)
    stream.flush()
