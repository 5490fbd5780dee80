"""Positions of reference stars from Gaia or 2MASS, over the network if it is there, as a table in a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Seconds after which a catalogue service that does not answer is given up.
PATIENCE = 8.0
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
    "2mass": Service("2MASS", "II/246/out", ("RAJ2000", "DEJ2000", "Jmag", "Hmag", "Kmag"), 1999.5),
}
#: What 2MASS positions are good to, mas (Skrutskie et al. 2006, section 6).
ERROR_2MASS = 80.0


def find_positions(
    wanted: str, ra: float, dec: float, folder: Path, notify: Callable[..., None], server: str | None = None
) -> Path | None:
    """The file with reference stars that ``--catalog`` means, None for no catalogue.

    ``wanted``: auto (Gaia, else 2MASS), gaia, 2mass, none, or a file, which is returned as it is. ``ra``,
    ``dec``: the field in degrees. A service that is not reached within seconds is given up, and it is said;
    with ``auto`` that is no failure. ``server``: another VizieR mirror.
    """
    if wanted == "none":
        return None
    if wanted not in ("auto", *SERVICES):
        return Path(wanted)
    for name in ("gaia", "2mass") if wanted == "auto" else (wanted,):
        table = _query(SERVICES[name], ra, dec, notify, server)
        if table is not None and len(table):
            return _keep(table, SERVICES[name], folder / f"positions_{name}.ecsv")
    notify("warning", text="no catalogue of positions could be had: the headers' pointing stands")
    return None


def _query(service: Service, ra: float, dec: float, notify: Callable[..., None], server: str | None) -> Any:
    """The service's stars around a position, None if it does not answer."""
    from astropy import units
    from astropy.coordinates import SkyCoord
    from astroquery.vizier import Vizier

    client = Vizier(columns=list(service.columns), row_limit=5000, timeout=PATIENCE)
    if server:
        client.VIZIER_SERVER = server
    try:
        place = SkyCoord(ra, dec, unit="deg")
        found = client.query_region(place, radius=RADIUS * units.arcmin, catalog=service.table, cache=False)
    except (OSError, ValueError, IndexError) as error:
        notify("info", text=f"{service.label} was not reached ({type(error).__name__})")
        return None
    return found[0] if len(found) else None


def _keep(table: Any, service: Service, path: Path) -> Path:
    """Write a service's stars with what the table itself does not say: name, epoch, errors."""
    table.meta = {"CATALOG": service.label}
    table["ref_epoch"] = service.epoch
    if service.label == "2MASS":
        table["error_mas"] = ERROR_2MASS
    path.parent.mkdir(parents=True, exist_ok=True)
    half_made = path.with_suffix(".part")
    table.write(half_made, format="ascii.ecsv", overwrite=True)
    return half_made.replace(path)
