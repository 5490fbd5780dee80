"""Settings: one frozen object, made once from command line, environment and configuration files."""

from __future__ import annotations

import configparser
import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from goafetch import folders
from goafetch.errors import UsageError
from goafetch.text import read_text

ARCHIVE = "https://archive.gemini.edu"
#: What is sought there unless another instrument is asked for.
INSTRUMENT = "GSAOI"


@dataclass(frozen=True)
class Settings:
    """Everything that can be configured.

    ``archive``: base URL. ``workers``: processes, 0 for one per core. ``connections``: parallel downloads.
    ``memory``: bytes that a run may take, 0 for a quarter of the machine, at most 2 GB. ``cluster``: address
    of a dask scheduler, 'local' for one on this machine, empty for the local pool. ``store``: file of the
    calibration store, None for the workspace's own. ``token``: the archive's session token; never shown.
    """

    archive: str = ARCHIVE
    workers: int = 0
    connections: int = 4
    memory: int = 0
    cluster: str = ""
    store: Path | None = None
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
    environment = os.environ if environment is None else environment
    settings = Settings(store=_dragons_store(home or folders.home()))
    folder = folders.configuration()
    user = _read_toml(folder / "goafetch.toml" if folder else None)
    own = _read_toml(workspace / "goafetch.toml" if workspace else None)
    if "cluster" in own:
        raise UsageError(
            f"{workspace}/goafetch.toml names a cluster, and would have this machine run what it sends",
            "a cluster that you name yourself",
            "use --cluster, GOAFETCH_CLUSTER or your own configuration",
        )
    chosen = {**_read_environment(environment), **{k: v for k, v in given.items() if v is not None}}
    settings = replace(settings, **{**user, **own, **chosen})
    if "archive" in own and "archive" not in chosen and "token" not in own:
        # A folder may come from somebody else: the token does not go where only that folder says.
        settings = replace(settings, token=None)
    return settings


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
    if path is None or not folders.is_file(path):
        return {}
    try:
        values = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not valid TOML: {error}", remedy="correct it or remove it") from error
    return {key: _convert(key, value, str(path)) for key, value in values.items()}


def _read_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    named = ((f.name, f"GOAFETCH_{f.name.upper()}") for f in fields(Settings))
    return {key: _convert(key, environment[name], name) for key, name in named if environment.get(name)}


def _convert(key: str, value: Any, where: str) -> Any:
    known = [f.name for f in fields(Settings)]
    if key not in known:
        close = difflib.get_close_matches(key, known, 1)
        hint = f"did you mean {close[0]}?" if close else ""
        raise UsageError(f"{where} has an unknown setting {key!r}", f"one of {', '.join(known)}", hint)
    if not isinstance(value, (str, int, float)):
        raise UsageError(f"{where}: {key} is {value!r}", "a text or a number")
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


def _dragons_store(home: Path | None) -> Path | None:
    """The store that DRAGONS' own configuration names: ``dragonsrc`` (3.1 on) before ``rsys.cfg`` (3.0)."""
    if home is None:
        return None
    for path, key in (
        (home / ".dragons/dragonsrc", "databases"),
        (home / ".geminidr/rsys.cfg", "database_dir"),
    ):
        if not folders.is_file(path):
            continue
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read_string(read_text(path), str(path))
        except configparser.Error as error:
            raise UsageError(f"{path} cannot be read: {error}", remedy="correct it or remove it") from error
        if value := parser.get("calibs", key, fallback="").strip().splitlines():
            return _store_beside(value[0])
    return None


def _store_beside(text: str) -> Path:
    """Our store's file for a database that DRAGONS keeps: flags such as 'get store' follow its path."""
    words = text.strip()
    while words.rsplit(" ", 1)[-1] in ("get", "store"):
        words = words.rsplit(" ", 1)[0].strip()
    path = _expanded(words.strip("\"'"))
    return (path.parent if path.suffix == ".db" else path) / "calstore.json"
