"""Steps and their parameters: the names users may set, what each means, and what it is unless they do."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from reducer.errors import BadParameter
from reducer.frame import Context
from reducer.headers.sky import SEPARATE


@dataclass(frozen=True)
class Parameter:
    """One parameter of a step: its default, how a value is read, and its meaning."""

    default: Any
    read: Callable[[Any], Any]
    meaning: str


def boolean(value: Any) -> bool:
    """True or False, also as text."""
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    found = words.get(str(value).strip().lower())
    if found is None:
        raise ValueError("True or False")
    return found


def choice(*words: str) -> Callable[[Any], str]:
    """One of some words."""

    def read(value: Any) -> str:
        word = str(value).strip().lower()
        if word not in words:
            raise ValueError(" or ".join(words))
        return word

    return read


def auto_or_boolean(value: Any) -> bool | str:
    """True, False, or 'auto' (decided from the data)."""
    if str(value).strip().lower() == "auto":
        return "auto"
    try:
        return boolean(value)
    except ValueError:
        raise ValueError("True, False or auto") from None


def optional(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A value, or None."""

    def read_optional(value: Any) -> Any:
        return None if value is None or str(value).strip().lower() in ("none", "") else read(value)

    return read_optional


def number(value: Any) -> float:
    """A number."""
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError("a number") from None


def whole(value: Any) -> int:
    """A whole number."""
    try:
        return int(str(value))
    except ValueError:
        raise ValueError("a whole number") from None


def names(value: Any) -> tuple[str, ...]:
    """File names: a list, or text with commas."""
    parts = value.split(",") if isinstance(value, str) else list(value or ())
    return tuple(str(part).strip() for part in parts if str(part).strip())


#: What every step takes.
COMMON = {
    "skip_primitive": Parameter(False, boolean, "leave the step out"),
    "write_outputs": Parameter(False, boolean, "write what the step made, under its own suffix"),
}

STEPS: Mapping[str, Mapping[str, Parameter]] = {
    "prepare": {
        "bad_wcs": Parameter(
            "fix", choice("fix", "exit", "new", "ignore"), "what to do with a WCS against its offsets"
        ),
    },
    "addDQ": {
        "latency": Parameter(True, boolean, "mask persistence of earlier saturated exposures"),
        "time": Parameter(900.0, number, "seconds that persistence lasts"),
    },
    "nonlinearityCorrect": {},
    "ADUToElectrons": {},
    "addVAR": {},
    "flatCorrect": {
        "do_flat": Parameter(True, boolean, "divide by the flat; False marks the product"),
    },
    "makeFlat": {
        "lamp_on_only": Parameter(False, boolean, "go on without lamp-off frames; marks the product"),
        "lsigma": Parameter(5.0, number, "rejection below the median, standard deviations"),
        "hsigma": Parameter(5.0, number, "rejection above the median, standard deviations"),
    },
    "makeBPM": {
        "low": Parameter(0.5, number, "lowest response of a good pixel against its surroundings"),
        "high": Parameter(1.5, number, "highest response of a good pixel against its surroundings"),
        "dark_sigma": Parameter(10.0, number, "deviation of a hot pixel in the dark, standard deviations"),
    },
    "separateSky": {
        "ref_obj": Parameter((), names, "files to take as object exposures"),
        "ref_sky": Parameter((), names, "files to take as sky exposures"),
        "frac_FOV": Parameter(SEPARATE, number, "fraction of the field that separates pointings"),
    },
    "associateSky": {
        "time": Parameter(600.0, number, "seconds over which a sky exposure loses its weight"),
        "distance": Parameter(3.0, number, "arcsec that a sky exposure of the field must be away"),
        "min_skies": Parameter(1, whole, "fewest sky exposures to go on with"),
        "max_skies": Parameter(None, optional(whole), "most sky exposures to use, nearest in time"),
        "use_all": Parameter(True, boolean, "use sky exposures however long ago"),
    },
    "skyCorrect": {
        "offset_sky": Parameter("auto", auto_or_boolean, "level the sky by the object frame's own median"),
        "scale_sky": Parameter("auto", auto_or_boolean, "scale the sky by the object frame's own median"),
        "level": Parameter("follow", choice("follow", "first"), "sky level: along time, or of the first sky"),
        "channels": Parameter(True, boolean, "remove the offsets of the readout channels"),
    },
    "detectSources": {},
    "adjustWCSToReference": {
        "method": Parameter(
            "auto", choice("auto", "sources", "target"), "what lies still: stars or a moving target"
        ),
        "first_pass": Parameter(5.0, number, "search radius for shifts, arcsec"),
        "final": Parameter(0.1, number, "matching radius, arcsec"),
        "min_matches": Parameter(None, optional(whole), "fewest stars two exposures must share"),
        "order": Parameter(3, whole, "highest order of the polynomial"),
    },
    "determineAstrometricSolution": {
        "catalog": Parameter(None, optional(str), "file with the positions of reference stars"),
        "first_pass": Parameter(10.0, number, "search radius for shifts, arcsec"),
        "final": Parameter(0.2, number, "matching radius, arcsec"),
        "min_matches": Parameter(None, optional(whole), "fewest reference stars to go on with"),
        "order": Parameter(3, whole, "highest order of the polynomial"),
    },
    "resampleToCommonFrame": {
        "pixel_scale": Parameter(None, optional(number), "arcsec per output pixel"),
        "pa": Parameter(None, optional(number), "position angle of the output, degrees"),
    },
    "scaleCountsToReference": {},
    "measureZeropoint": {
        "standards": Parameter(None, optional(str), "file with magnitudes of standards"),
        "archive": Parameter(None, optional(str), "file with the archive's magnitudes of standards"),
        "catalog": Parameter(None, optional(str), "file with magnitudes of stars of the field"),
        "standard": Parameter(None, optional(str), "the standard's stack, whose zeropoint holds"),
    },
    "stackFrames": {
        "operation": Parameter("wtmean", choice("wtmean", "mean", "median"), "how values are combined"),
        "reject_method": Parameter(
            "sigclip", choice("none", "sigclip", "minmax"), "how deviating values are found"
        ),
        "lsigma": Parameter(5.0, number, "rejection below, standard deviations"),
        "hsigma": Parameter(5.0, number, "rejection above, standard deviations"),
        "nlow": Parameter(0, whole, "lowest values left out (minmax)"),
        "nhigh": Parameter(0, whole, "highest values left out (minmax)"),
        "reject_fwhm": Parameter(
            None, optional(number), "leave out exposures whose FWHM is this many times the median"
        ),
        "fill": Parameter(math.nan, number, "value of SCI and VAR where there are no data"),
    },
}


def value(context: Context, step: str, name: str) -> Any:
    """What the user set, else the default."""
    return context.parameter(step, name, STEPS[step].get(name, COMMON.get(name)).default)  # type: ignore[union-attr]


#: Steps that are one pass over the pixels, which carries out several named ones.
FUSED: Mapping[str, tuple[str, ...]] = {
    "correctDetector": ("addDQ", "nonlinearityCorrect", "ADUToElectrons", "addVAR", "flatCorrect")
}


def in_force(context: Context, step: str) -> dict[str, dict[str, Any]]:
    """All parameters of a step as they hold, by the named steps that it carries out."""
    return {
        name: {key: known.default for key, known in STEPS.get(name, {}).items()}
        | dict(context.parameters.get(name, {}))
        for name in FUSED.get(step, (step,))
    }


def is_usual(step: str, name: str, given: Any) -> bool:
    """Whether a value, as JSON perhaps, is a parameter's default."""
    known = STEPS[step][name]
    read = known.read(given)
    return bool(read == known.default or (read != read and known.default != known.default))


def parse(pairs: Iterable[tuple[str, Any]]) -> dict[str, dict[str, Any]]:
    """Turn ('skyCorrect:offset_sky', 'False') pairs into step -> parameter -> value.

    Steps and parameters may be written with underscores and in any case. A parameter without a step
    is set for every step that has it. BadParameter names what is known.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, given in pairs:
        step, colon, parameter = name.rpartition(":")
        steps = [_known(step, STEPS, "step")] if colon else _steps_with(parameter)
        for each in steps:
            known = {**STEPS[each], **COMMON}
            wanted = _known(parameter, known, f"parameter of {each}")
            found.setdefault(each, {})[wanted] = _read(known[wanted], given, f"{each}:{wanted}")
    return found


def _plain(name: str) -> str:
    return name.replace("_", "").strip().lower()


def _known(name: str, known: Iterable[str], what: str) -> str:
    choices = {_plain(candidate): candidate for candidate in known}
    if _plain(name) in choices:
        return choices[_plain(name)]
    near = get_close_matches(_plain(name), choices, 1)
    hint = f"did you mean {choices[near[0]]}?" if near else ""
    raise BadParameter(f"no {what} is called '{name}'", f"one of {', '.join(choices.values())}", hint)


def _steps_with(parameter: str) -> list[str]:
    steps = [step for step, known in STEPS.items() if _plain(parameter) in map(_plain, known)]
    if not steps:
        every = sorted({name for known in STEPS.values() for name in known})
        raise BadParameter(f"no step has a parameter '{parameter}'", f"one of {', '.join(every)}")
    return steps


def _read(parameter: Parameter, given: Any, name: str) -> Any:
    try:
        return parameter.read(given)
    except ValueError as error:
        raise BadParameter(f"{name}={given}", f"{error} ({parameter.meaning})") from error
