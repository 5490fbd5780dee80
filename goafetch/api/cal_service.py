"""The tutorial's ``cal_service``: the calibration store of this project, and how it is chosen."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from calstore import NotInStore
from calstore.associate import Calibration, Match, Need, NoMatch, best
from calstore.store import CalStore
from goafetch.config import Settings, load_settings
from goafetch.workspace import Workspace

FileData = namedtuple("FileData", ["name", "path"])

STORE_NAME = "calstore.json"


@dataclass
class _Chosen:
    """The store that a script has chosen with ``set_calservice``; None for the project's own."""

    path: Path | None = None


_chosen = _Chosen()


def project(folder: Path | None = None) -> tuple[Workspace, Settings]:
    """The workspace that a folder (default: the present one) is, or is the playground of; its settings."""
    folder = (folder or Path.cwd()).absolute()
    root = folder.parent if folder.name == "playground" else folder
    return Workspace(root), load_settings(root)


def store_path(folder: Path | None = None) -> Path:
    """The file of the store for work in a folder (default: here).

    What the settings name (goafetch.toml, the environment, DRAGONS' dragonsrc or rsys.cfg), else
    ``calibrations/calstore.json`` in the workspace's playground, or below the folder itself where there is
    no workspace.
    """
    folder = (folder or Path.cwd()).absolute()
    workspace, settings = project(folder)
    if settings.store is not None:
        return settings.store
    in_workspace = folder.name == "playground" or workspace.playground.is_dir()
    return (workspace.calibrations if in_workspace else folder / "calibrations") / STORE_NAME


def answers(store: CalStore, lookup: Sequence[Path] = ()) -> Callable[[Need], Match | NoMatch]:
    """What says which calibration fits a need: the store, or without one the files of its folder; where none
    fits the others that are looked up, one after another."""
    loose = [] if store.exists else loose_calibrations(store.path.parent)
    others = [other for other in map(CalStore, lookup) if other.exists]

    def answer(need: Need) -> Match | NoMatch:
        own = store.match(need) if store.exists else best(need, loose)
        found = (other.match(need) for other in others if isinstance(own, NoMatch))
        return next((each for each in found if isinstance(each, Match)), own)

    return answer


def loose_calibrations(folder: Path) -> list[Calibration]:
    """The calibrations among the FITS files in a folder and below it."""
    from goafetch.api.dataselect import describe_files
    from goafetch.plan.translate import calibration_of, kind_of

    known, _ = describe_files(sorted(folder.rglob("*.fits")) if folder.is_dir() else ())
    return [calibration_of(path, facts) for path, facts in known if kind_of(facts) and facts.ut_date]


def active_store(folder: Path | None = None) -> CalStore:
    """The store that reductions use: the one a script has set, else that of the folder."""
    return CalStore(_chosen.path or store_path(folder))


def beside(database: str | Path) -> Path:
    """The store's file for a place given as a folder, or as a file (as DRAGONS 3.1 does)."""
    path = Path(database).expanduser()
    return path if path.suffix == ".json" else (path.parent if path.suffix else path) / STORE_NAME


class CalibrationService:
    """The calibration store with the names of the tutorial."""

    def __init__(self) -> None:
        self._path: Path | None = None

    @property
    def store(self) -> CalStore:
        """The store itself."""
        return CalStore(self._path) if self._path else active_store()

    def config(self, db_dir: str | Path | None = None, verbose: bool = False) -> None:
        """Choose the store: a folder, or by default the one that settings and folder tell."""
        self._path = beside(db_dir) if db_dir is not None else store_path()

    def init(self, wipe: bool = False) -> None:
        """Make the store if there is none; with ``wipe`` empty it."""
        self.store.init(wipe=wipe)

    def add_cal(self, path: str | Path) -> Calibration:
        """Add a file; errors of goafetch and its store say why it is no calibration."""
        from goafetch.plan.translate import calibration_of

        self.store.init()
        return self.store.add(calibration_of(Path(path)))[0]

    def remove_cal(self, path: str | Path) -> None:
        """Take a file out of the store; the file stays."""
        remove(self.store, str(path))

    def list_files(self) -> Iterator[FileData]:
        """Name and folder of each file in the store."""
        for calibration in self.store.all():
            yield FileData(calibration.name, str(Path(calibration.path).parent))


def remove(store: CalStore, name: str) -> Calibration:
    """Take a file out of a store by its path, or else by its name alone, as DRAGONS does."""
    try:
        return store.remove(name)
    except NotInStore:
        if Path(name).name == name:
            raise
        return store.remove(Path(name).name)


def set_calservice(local_db_dir: str | Path | None = None) -> None:
    """Make all reductions of this script use the store of a folder, or by default this project's own."""
    _chosen.path = beside(local_db_dir).absolute() if local_db_dir is not None else None


def set_local_database() -> CalibrationService:
    """The store of this project, which all reductions of this script then use (the name of DRAGONS 3.1)."""
    service = CalibrationService()
    service.config()
    set_calservice()
    return service
