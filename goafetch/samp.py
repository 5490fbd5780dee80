"""Send products to programs that listen on this machine: ds9, TOPCAT, Aladin (SAMP)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from goafetch.errors import NothingFound

#: Messages by the end of a file's name, the most particular first: what the IVOA calls loading it.
IMAGE, TABLE, MOC = "image.load.fits", "table.load.fits", "coverage.load.moc.fits"
MESSAGES = {"_moc.fits": MOC, "_catalogue.fits": TABLE, "_psf.fits": TABLE, ".fits": IMAGE}
#: Seconds in which a program must have answered.
PATIENCE = 30


@dataclass(frozen=True)
class Sent:
    """A file and what a program, by its name, said to it: '' where it took it."""

    file: Path
    program: str
    error: str = ""


def send(files: Sequence[Path]) -> list[Sent]:
    """Send those of some files that have a message to all programs that take it; what each said to each file.

    Raises NothingFound where no hub runs, or no program of it takes any of the files.
    """
    from pyvo import samp

    samp.conf.use_internet = False
    client = samp.SAMPIntegratedClient("goafetch", description="Reduction of Gemini images", callable=False)
    try:
        client.connect()
    except samp.SAMPHubError as error:
        raise NothingFound(
            "no SAMP hub runs on this machine",
            "a program that has one: TOPCAT, Aladin, or ds9 beside either",
            "start it, and give the same command again",
        ) from error
    try:
        said = [
            _ask(client, program, message, file)
            for file in files
            if (message := _message(file)) is not None
            for program in client.get_subscribed_clients(message)
        ]
    finally:
        client.disconnect()
    if not said:
        raise NothingFound(
            "no program at the SAMP hub takes images or tables",
            "ds9, TOPCAT, Aladin or another that does",
            "start it (in ds9: File, SAMP, Connect), and give the same command again",
        )
    return said


def _message(file: Path) -> str | None:
    return next((message for end, message in MESSAGES.items() if file.name.endswith(end)), None)


def _ask(client: Any, program: str, message: str, file: Path) -> Sent:
    """Have a program load a file, and wait for what it says."""
    from pyvo.samp import SAMPProxyError

    name = str(client.get_metadata(program).get("samp.name", program))
    parameters = {"url": file.absolute().as_uri(), "name": file.name}
    try:
        answer = client.call_and_wait(
            program, {"samp.mtype": message, "samp.params": parameters}, str(PATIENCE)
        )
    except SAMPProxyError as error:
        return Sent(file, name, str(error.faultString))
    if answer["samp.status"] == "samp.ok":
        return Sent(file, name)
    return Sent(file, name, str(answer.get("samp.error", {}).get("samp.errortxt", answer["samp.status"])))
