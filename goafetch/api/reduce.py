"""One reduction as the tutorial does it: files in, a recipe over them, products out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from calstore.associate import PROCESSED_BPM, PROCESSED_DARK, PROCESSED_FLAT, Match, NoMatch
from calstore.store import CalStore
from goafetch.api import cal_service, logutils
from goafetch.api.dataselect import expand
from goafetch.errors import NothingFound, UsageError
from goafetch.events import Decided, Notify, listener, silent
from goafetch.pipeline.cache import keep_as_calibration, stored_calibrations
from goafetch.pipeline.find_recipe import file_and_name, find_recipe
from goafetch.plan.plan import masters_given
from goafetch.plan.translate import calibration_of, kind_of, need_of, previous_flat
from goafetch.text import parse_parameters, split_at
from reducer.products import ON_TARGET, exposure_name

#: What a reduction may be given, and what of its products is kept for others.
KINDS = (PROCESSED_DARK, PROCESSED_FLAT, PROCESSED_BPM)

if TYPE_CHECKING:
    from reducer.headers.descriptors import Descriptors
    from reducer.recipes import Recipe

Pairs = Iterable[tuple[str, Any]]


@dataclass(frozen=True)
class Task:
    """What is to be reduced, and how.

    ``recipe``: a name, FILE.py:NAME, or empty for the one that suits the frames. ``parameters``:
    ('step:name', value) pairs. ``calibrations``: kind -> file, before what the store would give.
    """

    files: Sequence[Path]
    recipe: str = ""
    parameters: Sequence[tuple[str, Any]] = ()
    calibrations: Mapping[str, Path] = field(default_factory=dict)
    folder: Path = Path()
    store: CalStore | None = None
    workers: int | None = None
    suffix: str = ""


def reduce_files(task: Task, notify: Notify = silent) -> list[Path]:
    """Run one recipe over files and return its products.

    Calibrations come from the task, else from the store by its rules; a calibration that is made is kept
    in calibrations/ too and entered in the store.
    """
    from goafetch.engine.pool import Pool
    from reducer.frame import Context, in_this_process
    from reducer.headers.descriptors import describe
    from reducer.recipes import parse
    from reducer.run import open_frames, run_recipe

    if "/" in task.suffix:
        raise UsageError(f"'{task.suffix}' cannot end a file's name", "a suffix such as _mine")
    if not task.files:
        raise NothingFound("no files to reduce", "at least one", "give names, or @LIST")
    expand(task.calibrations.values())  # those that are named must be there
    frames = open_frames(task.files, listener(notify))
    facts = describe(frames[0].header, frames[0].chips, frames[0].path.name)
    recipe = find_recipe(task.recipe, facts)
    chosen = parse(task.parameters, recipe)
    store = task.store or cal_service.active_store(task.folder)
    needed = kinds_with_rules(needed_kinds(recipe, chosen), facts) - masters_given(chosen).keys()
    if PROCESSED_DARK in task.calibrations and PROCESSED_DARK not in needed:
        raise UsageError(f"{PROCESSED_DARK} is given, and no dark is subtracted from these frames")
    settings = cal_service.project(task.folder)[1]
    found = find_calibrations(needed, facts, task.calibrations, store, notify, settings.lookup)
    workers = task.workers or settings.workers
    with ExitStack() as stack:
        context = Context(
            folder=task.folder,
            parameters=chosen,
            flat=found.get(PROCESSED_FLAT) or _flat_before(facts, store),
            bpm=found.get(PROCESSED_BPM),
            dark=found.get(PROCESSED_DARK),
            notify=listener(notify),
            recipe_file=file_and_name(task.recipe)[0],
            map=in_this_process if workers == 1 else stack.enter_context(Pool(workers, notify)).map,
        )
        made = run_recipe(recipe, frames, context)
    products = [frame.path for frame in made if frame.path not in task.files]
    if task.suffix:
        products = [_renamed(path, task.suffix) for path in products]
    for path in products:
        _keep(path, task.folder, store)
    return products


def find_calibrations(
    needed: Collection[str],
    facts: Descriptors,
    given: Mapping[str, Path],
    store: CalStore,
    notify: Notify,
    lookup: Sequence[Path] = (),
) -> dict[str, Path]:
    """Calibrations of the kinds that a frame needs: those given, else those that the store's rules choose."""
    found = dict(given)
    missing = sorted(set(needed) - found.keys())
    answer_to = cal_service.answers(store, lookup) if missing else store.match
    for kind in missing:
        answer = answer_to(need_of(facts, kind))
        if isinstance(answer, Match):
            found[kind] = Path(answer.calibration.path)
            notify(Decided(f"{kind} {answer.calibration.name}", answer.reason))
        else:
            notify(Decided(f"no {kind}", _why(answer)))
    return found


def needed_kinds(recipe: Recipe, chosen: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """The kinds of calibration that the steps of a recipe need, but for those left out."""
    from reducer.step import steps_of

    run = [step for name, step in steps_of(recipe).items() if not chosen.get(name, {}).get("skip_primitive")]
    return {kind for step in run for kind in step.needs}


def kinds_with_rules(kinds: Collection[str], facts: Descriptors) -> set[str]:
    """Of some kinds those that a frame's instrument has rules for; darks where such frames need them."""
    from reducer.instruments import find_instrument

    known = find_instrument(facts.primary)
    if known is None:
        return set(kinds)
    exposures = ("flat",) if "FLAT" in facts.tags else ("science", "standard")
    needs_dark = any(known.needs(PROCESSED_DARK, each) for each in exposures)
    return {kind for kind in kinds if kind in known.calibrations and (needs_dark or kind != PROCESSED_DARK)}


def _flat_before(facts: Descriptors, store: CalStore) -> Path | None:
    """The flat of the store that a flat about to be made is compared with."""
    if "FLAT" not in facts.tags:
        return None
    return previous_flat(need_of(facts, PROCESSED_FLAT), stored_calibrations(store))


def _why(answer: NoMatch) -> str:
    lost = "; ".join(f"{rejection.calibration.name}: {rejection.reason}" for rejection in answer.rejected[:5])
    return f"{answer.reason}{f' ({lost})' if lost else ''}"


def _keep(product: Path, folder: Path, store: CalStore) -> None:
    """Give a calibration its second place and enter it in the store."""
    from reducer.select import describe_file

    facts = describe_file(product)
    kind = kind_of(facts)
    if kind in KINDS:
        kept = keep_as_calibration(product, folder / "calibrations", kind)
        store.init()
        store.add(calibration_of(kept, facts))


class Parameters(dict[str, Any]):
    """'step:name' -> value, a dictionary (DRAGONS 4) that also takes pairs as a list does (DRAGONS 3)."""

    def append(self, pair: tuple[str, Any] | str) -> None:
        """Set what a pair, or a text 'step:name=value', says."""
        self.extend([pair])

    def extend(self, pairs: Any) -> None:
        """Set what each pair says, or a dictionary."""
        self.update(parse_parameters(pairs))

    def __iadd__(self, pairs: Any) -> Self:
        self.extend(pairs)
        return self


class Reduce:
    """A reduction with the names of the tutorial.

    ``files``: names, globs, '@lists'. ``recipename``: '_default' for the one that suits the frames.
    ``uparms``: 'step:name' -> value, set as in a dictionary or appended as pairs. ``ucals``: kind, or
    (file, kind), -> calibration file. ``suffix``: put instead of the products' own. ``output_filenames``:
    what was made; of exposures on and off the target, those on it.
    """

    def __init__(self, sys_args: Any = None) -> None:
        self.files: list[str] = list(getattr(sys_args, "files", None) or ())
        self.recipename: str = getattr(sys_args, "recipename", None) or "_default"
        self.uparms = getattr(sys_args, "userparam", None) or ()
        self.ucals: dict[Any, str] = dict(getattr(sys_args, "user_cal", None) or {})
        self.suffix: str | None = getattr(sys_args, "suffix", None)
        self.mode, self.drpkg = "sq", "geminidr"
        self.upload: list[str] | None = None
        self._output_filenames: list[str] = []

    @property
    def uparms(self) -> Parameters:
        """What the user sets."""
        return self._uparms

    @uparms.setter
    def uparms(self, given: Any) -> None:
        self._uparms = Parameters()
        self._uparms.extend(given)

    @property
    def output_filenames(self) -> list[str]:
        """Names of the products of ``runr``, as seen from here."""
        return self._output_filenames

    def runr(self) -> None:
        """Run the recipe; errors say what was found, what was needed and what to do."""
        if self.mode != "sq" or self.upload:
            raise UsageError(f"mode={self.mode!r}, upload={self.upload!r}", "mode 'sq' and nothing to upload")
        task = Task(
            files=expand(self.files),
            recipe="" if self.recipename in ("_default", "default") else self.recipename,
            parameters=parse_parameters(self.uparms),
            calibrations=parse_user_calibrations(self.ucals),
            suffix=self.suffix or "",
        )
        with logutils.telling() as tell:
            products = reduce_files(task, tell)
        self._output_filenames = [str(path) for path in on_target_products(products)]


def on_target_products(products: Sequence[Path]) -> list[Path]:
    """The sky-subtracted products, where there are some: what is stacked. Else all."""
    corrected = [path for path in products if path.stem.endswith(ON_TARGET)]
    return corrected or list(products)


def parse_user_calibrations(given: Any) -> dict[str, Path]:
    """Kind -> file from a dictionary whose keys are kinds or (file, kind), or from 'kind:file' texts."""
    pairs = given.items() if isinstance(given, Mapping) else [split_at(":", text) for text in given]
    found = {}
    for key, path in pairs:
        kind = key[-1] if isinstance(key, tuple) else key
        if kind not in KINDS:
            raise UsageError(f"{key!r} is no kind of calibration", " or ".join(KINDS))
        found[kind] = Path(path)
    return found


def _renamed(path: Path, suffix: str) -> Path:
    """A product under the user's own suffix."""
    return path.rename(path.with_name(f"{exposure_name(path)}{suffix}.fits"))
