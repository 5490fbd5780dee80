"""Positions and magnitudes of stars from Gaia or 2MASS, over the network if it is there, kept in files."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from goafetch import network
from goafetch.errors import UsageError
from goafetch.events import Noted, Notify, Warned
from goafetch.workspace import write_atomically

#: VizieR at the CDS (Ochsenbein et al. 2000, A&AS 143, 23).
SERVER = "https://vizier.cds.unistra.fr"
#: Seconds after which a network that is not there is given up, and a service that was reached but is silent.
REACH, PATIENCE = 2.0, 10.0
#: Arcmin about the field within which stars are fetched.
RADIUS = 1.6


@dataclass(frozen=True)
class Service:
    """A catalogue at VizieR: its name there, the columns wanted, the epoch of its positions (year)."""

    label: str
    table: str
    columns: tuple[str, ...]
    epoch: float


#: VizieR's names; Gaia DR3's epoch (Gaia Collaboration 2023), 2MASS's (Skrutskie et al. 2006) in the mean.
SERVICES = {
    "gaia": Service(
        "Gaia DR3",
        "I/355/gaiadr3",
        ("RA_ICRS", "DE_ICRS", "e_RA_ICRS", "e_DE_ICRS", "pmRA", "pmDE", "Gmag"),
        2016.0,
    ),
    "2mass": Service(
        "2MASS",
        "II/246/out",
        ("RAJ2000", "DEJ2000", "Jmag", "e_Jmag", "Hmag", "e_Hmag", "Kmag", "e_Kmag"),
        1999.5,
    ),
}
#: What 2MASS positions are good to, mas (Skrutskie et al. 2006, section 6).
ERROR_2MASS = 80.0
#: The words of --catalog and --phot-catalog that are no files, and the services that each asks in turn.
POSITIONS = {"auto": ("gaia", "2mass"), "gaia": ("gaia",), "2mass": ("2mass",), "none": ()}
MAGNITUDES = {"auto": ("2mass",), "2mass": ("2mass",), "none": ()}


MISSED = "magnitudes could be had: they tie no zeropoint"


def find_stars(
    words: Mapping[str, tuple[str, ...]],
    wanted: str,
    ra: float,
    dec: float,
    folder: Path,
    notify: Notify,
    server: str = SERVER,
) -> Path | None:
    """The file with stars that ``--catalog`` or ``--phot-catalog`` means, None for no catalogue.

    ``wanted``: one of the ``words`` POSITIONS or MAGNITUDES, or a file, which is returned as it is. ``ra``,
    ``dec``: the field in degrees. A service that is not reached is given up within seconds, and it is said;
    with ``auto`` that is no failure. ``server``: another VizieR mirror.
    """
    if wanted not in words:
        return Path(wanted)
    names = words[wanted]
    found = cached_stars(names, ra, dec, folder)
    if found is None and names and (trouble := why_not_reachable(server)):
        notify(Noted(trouble))
    elif found is None:
        found = fetch_stars(names, ra, dec, folder, notify, server)
    if found is None and names:
        lost = "positions could be had: the headers' pointing stands" if words is POSITIONS else MISSED
        notify(Warned(f"no catalogue of {lost}"))
    return found


def cached_stars(names: tuple[str, ...], ra: float, dec: float, folder: Path) -> Path | None:
    """The stars about a position in degrees that the first of some services gave before, None for none."""
    paths = (cache_file(name, ra, dec, folder) for name in names)
    return next((path for path in paths if path.exists()), None)


def fetch_stars(
    names: tuple[str, ...],
    ra: float,
    dec: float,
    folder: Path,
    notify: Notify,
    server: str = SERVER,
) -> Path | None:
    """The stars about a position in degrees, of the first of some services that has any; None if none has."""
    for name in names:
        path = cache_file(name, ra, dec, folder)
        _ask(SERVICES[name], ra, dec, path, notify, server)
        if path.exists():
            return path
    return None


def cache_file(name: str, ra: float, dec: float, folder: Path) -> Path:
    """Where the stars of a service about a position are kept."""
    return folder / f"{name}_{ra:.4f}{dec:+.4f}.ecsv"


def why_not_reachable(server: str) -> str:
    """Why no connection to a server, or to the proxy on the way, opens within ``REACH`` seconds in all.

    Empty where one does. Proxies and certificates are those that the archive is asked with.
    """
    try:
        network.check_certificates()
        proxy = network.proxy_for(server)
    except UsageError as error:
        return str(error)
    if not _opens(proxy or server):
        on_the_way = f": the proxy {network.without_password(proxy)} does not answer" if proxy else ""
        return f"{server} cannot be reached{on_the_way}"
    return ""


def _opens(url: str) -> bool:
    address = urlsplit(url)
    port = address.port or network.PORTS[address.scheme]
    opened = threading.Event()

    def connect() -> None:
        try:
            socket.create_connection((address.hostname, port), REACH).close()
        except OSError:
            return
        opened.set()

    # Looking up a name has no time limit of its own: a thread is left behind instead of waited for.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(REACH)
    return opened.is_set()


def _ask(
    service: Service, ra: float, dec: float, path: Path, notify: Callable[..., None], server: str
) -> None:
    """Ask a service for the stars around a position and keep what it has, if it has any."""
    from astropy import units
    from astropy.coordinates import SkyCoord
    from astroquery.exceptions import TableParseError
    from astroquery.vizier import VizierClass

    class Client(VizierClass):  # type: ignore[misc]
        def _server_to_url(self, return_type: str = "votable") -> str:
            return f"{server}/viz-bin/{return_type}"

        def _parse_result(self, response: Any, **named: Any) -> Any:
            self.page = response.text
            return super()._parse_result(response, **named)

    client = Client(columns=list(service.columns), row_limit=5000, timeout=PATIENCE)
    try:
        place = SkyCoord(ra, dec, unit="deg")
        found = client.query_region(place, radius=RADIUS * units.arcmin, catalog=service.table, cache=False)
    except TableParseError:
        found = None
    except (OSError, ValueError, IndexError) as error:
        notify(Noted(f"{service.label} did not answer ({type(error).__name__})"))
        return
    if found is None:  # what came is no table
        page = network.title_of(client.page)
        notify(Noted(f"a web page came instead of {service.label}: {page!r}"))
        return
    stars = len(found[0]) if len(found) else 0
    notify(Noted(f"{service.label} has {stars} stars within {RADIUS} arcmin of the field"))
    if stars:
        _keep(found[0], service, path)


def _keep(table: Any, service: Service, path: Path) -> None:
    """Write a service's stars with what the table itself does not say: name, epoch, errors."""
    table.meta = {"CATALOG": service.label}
    table["ref_epoch"] = service.epoch
    if service.label == "2MASS":
        table["error_mas"] = ERROR_2MASS
    path.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    table.write(text, format="ascii.ecsv")
    write_atomically(path, text.getvalue())
