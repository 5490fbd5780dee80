"""Settings: one frozen object, made once from command line, environment and configuration files."""

from __future__ import annotations

import configparser
import difflib
import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from goafetch import system
from goafetch.errors import UsageError
from goafetch.text import read_text

ARCHIVE = "https://archive.gemini.edu"
#: What is sought there unless another instrument is asked for.
INSTRUMENT = "GSAOI"


#: The file of settings, in the user's configuration folder or a workspace.
FILE = "goafetch.toml"
MEANINGS = {
    "archive": "Address of the archive.",
    "workers": "Worker processes, 0 for one per core.",
    "connections": "Files fetched at a time.",
    "memory": "Memory that a run may take, such as 1500M; 0 for a quarter of the machine, at most 2 GB.",
    "cluster": "Address of a dask scheduler, 'local' for one on this machine, empty for none.",
    "store": "File of the calibration store, empty for the workspace's own.",
    "lookup": f"More stores to look in after it, in this order, with '{os.pathsep}' between.",
    "token": "Session token of the archive; `goafetch login` stores it safely.",
}


@dataclass(frozen=True)
class Settings:
    """Everything that can be configured, as MEANINGS says; sizes in bytes, None for what is not there."""

    archive: str = ARCHIVE
    workers: int = 0
    connections: int = 4
    memory: int = 0
    cluster: str = ""
    store: Path | None = None
    lookup: tuple[Path, ...] = ()
    token: str | None = None

    def __repr__(self) -> str:
        shown = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "token"}
        return f"Settings({shown}, token={'set' if self.token else None})"


def load_settings(
    workspace: Path | None = None,
    environment: Mapping[str, str] | None = None,
    home: Path | None = None,
    **given: Any,
) -> Settings:
    """Settings by precedence: what was ``given`` (None counts as not), environment, files, defaults."""
    return _settings(origins(workspace, environment, home, **given))


class Origin(NamedTuple):
    """The value of a setting, and who says so."""

    value: Any
    source: str


def origins(
    workspace: Path | None = None,
    environment: Mapping[str, str] | None = None,
    home: Path | None = None,
    **given: Any,
) -> dict[str, Origin]:
    """Every setting and where it comes from; arguments as for ``load_settings``."""
    environment = os.environ if environment is None else environment
    mine, theirs = user_file(), workspace / FILE if workspace else None
    user, own = _read_toml(mine), _read_toml(theirs)
    if "cluster" in own:
        raise UsageError(
            f"{theirs} names a cluster, and would have this machine run what it sends",
            "a cluster that you name yourself",
            "use --cluster, GOAFETCH_CLUSTER or your own configuration",
        )
    store, lookup = _dragons_stores(home or system.home())
    found = {name: Origin(value, "default") for name, value in asdict(Settings()).items()}
    found |= {"store": Origin(store, "DRAGONS' configuration")} if store else {}
    found |= {"lookup": Origin(lookup, "DRAGONS' configuration")} if lookup else {}
    found |= {name: Origin(value, str(mine)) for name, value in user.items()}
    found |= {name: Origin(value, str(theirs)) for name, value in own.items()}
    found |= {name: Origin(value, variable(name)) for name, value in _read_environment(environment).items()}
    found |= {name: Origin(value, "command line") for name, value in given.items() if value is not None}
    if found["archive"].source == str(theirs) != found["token"].source:
        # A folder may come from somebody else: the token does not go where only that folder says.
        found["token"] = Origin(None, f"not sent to an archive that only {theirs} names")
    return found


def _settings(found: Mapping[str, Origin]) -> Settings:
    return Settings(**{name: origin.value for name, origin in found.items()})


def user_file() -> Path | None:
    """The file of the user's own settings, there or not; None without a home."""
    folder = system.configuration()
    return folder / FILE if folder else None


def variable(name: str) -> str:
    """The environment's variable for a setting."""
    return f"GOAFETCH_{name.upper()}"


def commented() -> str:
    """A file of settings in which every line is a comment: what each means and its default."""
    defaults = asdict(Settings())
    lines = ["# Settings of goafetch. Take the # away before what you want to change.", ""]
    for name, meaning in MEANINGS.items():
        value = "" if defaults[name] is None else defaults[name]
        lines += [f"# {meaning} Also {variable(name)}.", f"# {name} = {json.dumps(value)}", ""]
    return "\n".join(lines)


def parse_size(text: str) -> int:
    """Bytes from '1500M', '2 GB', '1.5G' (powers of 1000, as disks are sold)."""
    stripped = text.strip().upper().removesuffix("B").strip()
    units = {"K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
    factor = units.get(stripped[-1:], 1)
    try:
        size = float(stripped[:-1] if factor > 1 else stripped) * factor
    except ValueError as error:
        raise UsageError(f"{text!r} is not a size", "a number with K, M or G, such as 1500M or 2G") from error
    return int(size)


def _read_toml(path: Path | None) -> dict[str, Any]:
    if path is None or not system.is_file(path):
        return {}
    try:
        values = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not valid TOML: {error}", remedy="correct it or remove it") from error
    return {key: _convert(key, value, str(path)) for key, value in values.items()}


def _read_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    named = ((f.name, variable(f.name)) for f in fields(Settings))
    return {key: _convert(key, environment[name], name) for key, name in named if environment.get(name)}


def _convert(key: str, value: Any, where: str) -> Any:
    known = [f.name for f in fields(Settings)]
    if key not in known:
        close = difflib.get_close_matches(key, known, 1)
        hint = f"did you mean {close[0]}?" if close else ""
        raise UsageError(f"{where} has an unknown setting {key!r}", f"one of {', '.join(known)}", hint)
    if key == "lookup" and isinstance(value, (str, list, tuple)):
        names = value.split(os.pathsep) if isinstance(value, str) else value
        return tuple(_expanded(str(name)) for name in names if name)
    if not isinstance(value, (str, int, float)):
        raise UsageError(f"{where}: {key} is {value!r}", "a text or a number")
    if value == "" and key in ("store", "token"):
        return None
    if key == "memory":
        return parse_size(str(value))
    if key == "store":
        return _expanded(str(value))
    if key in ("workers", "connections"):
        try:
            return int(value)
        except ValueError as error:
            raise UsageError(f"{where}: {key} is {value!r}", "a whole number") from error
    return str(value)


def _expanded(text: str) -> Path:
    """A path in which ~ stands for the user's home."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise UsageError(f"{text}: there is no home folder", "the whole path, or HOME") from error


def _dragons_stores(home: Path | None) -> tuple[Path | None, tuple[Path, ...]]:
    """The store that DRAGONS' own configuration names, ``dragonsrc`` (3.1 on) before ``rsys.cfg`` (3.0), and
    those that are sought in after it.

    New calibrations go to the first database that has the word 'store', or else to the first.
    """
    if home is None:
        return None, ()
    for path, key in (
        (home / ".dragons/dragonsrc", "databases"),
        (home / ".geminidr/rsys.cfg", "database_dir"),
    ):
        if not system.is_file(path):
            continue
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read_string(read_text(path), str(path))
        except configparser.Error as error:
            raise UsageError(f"{path} cannot be read: {error}", remedy="correct it or remove it") from error
        lines = [line for line in parser.get("calibs", key, fallback="").strip().splitlines() if line.strip()]
        if lines:
            chosen = next((line for line in lines if "store" in line.split()[1:]), lines[0])
            others = tuple(_store_beside(line) for line in lines if line is not chosen)
            return _store_beside(chosen), others
    return None, ()


def _store_beside(text: str) -> Path:
    """Our store's file for a database that DRAGONS keeps: flags such as 'get store' follow its path."""
    words = text.strip()
    while words.rsplit(" ", 1)[-1] in ("get", "store"):
        words = words.rsplit(" ", 1)[0].strip()
    path = _expanded(words.strip("\"'"))
    return (path.parent if path.suffix == ".db" else path) / "calstore.json"
