"""Write the pages of reference/ that follow from the code: commands, parameters, errors, facts."""

from __future__ import annotations

import importlib
import inspect
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "reference"
ERRORS = ("goafetch.errors", "reducer.errors", "calstore")
CODES = {
    "0": "all that was asked is done",
    "1": "something was refused or failed; the rest is done and listed",
    "2": "what was typed cannot be meant",
    "3": "nothing matched",
    "4": "the archive refused, blocked or could not be reached",
    "130": "interrupted; everything finished so far is kept",
    "141": "the reader of the pipe has gone",
}


def commands() -> str:
    """Every command with its arguments and options."""
    from typer.main import get_command

    from goafetch.cli import app

    parts = ["# Commands", "What `goafetch COMMAND --help` says, in one place."]
    for name, command in sorted(_walk(get_command(app), "goafetch")):
        parts += [f"## `{name}`", inspect.cleandoc(command.help or "")]
        rows = [_row(parameter) for parameter in command.params if not getattr(parameter, "hidden", False)]
        parts.append("\n".join(["| argument or option | meaning |", "|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def _walk(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", {})
    if not children:
        yield name, command
    for child, one in children.items():
        yield from _walk(one, f"{name} {child}")


def _row(parameter: Any) -> str:
    names = [*parameter.opts, *parameter.secondary_opts]
    is_option = names[0].startswith("-")
    shown = (
        ", ".join(f"`{name}`" for name in names)
        if is_option
        else f"`{parameter.metavar or parameter.name.upper()}`"
    )
    if is_option and parameter.metavar:
        shown += f" `{parameter.metavar}`"
    return f"| {_cell(shown)} | {_cell(parameter.help or '')} |"


def parameters() -> str:
    """Every step with what it declares."""
    from reducer.recipes import STEPS
    from reducer.step import SKIP, WRITE

    parts = [
        "# Steps and parameters",
        "Set with `-p STEP:PARAM=VALUE`; names may be written with underscores and in any case. "
        "`goafetch showpars FILE` lists them with what they are for that file's instrument.",
        "## Every step, but for those that say why they cannot be left out",
        _table({"skip_primitive": SKIP, "write_outputs": WRITE}),
    ]
    for name, step in STEPS.items():
        about = [inspect.cleandoc(step.function.__doc__ or "").partition("\n\n")[0]]
        about += [f"Makes `{step.suffix}`." if step.writes else f"`write_outputs` writes `{step.suffix}`."]
        about += [f"Needs {' and '.join(f'`{kind}`' for kind in step.needs)}."] if step.needs else []
        about += [f"Cannot be left out: {step.cannot_skip}."] if step.cannot_skip else []
        parts += [f"## `{name}`", _cell(" ".join(about))]
        parts += [_table(step.parameters)] if step.parameters else []
    return "\n\n".join(parts) + "\n"


def _table(known: Any) -> str:
    rows = [f"| `{name}` | `{p.default}` | {p.unit} | {_cell(p.meaning)} |" for name, p in known.items()]
    return "\n".join(["| parameter | default | unit | meaning |", "|---|---|---|---|", *rows])


def errors() -> str:
    """Exit codes, and every kind of error with what it means."""
    parts = ["# Errors and exit codes"]
    rows = [f"| {code} | {meaning} |" for code, meaning in CODES.items()]
    parts.append("\n".join(["| exit code | meaning |", "|---|---|", *rows]))
    parts.append(
        "Every error says what was found, what was needed and what to do; with `--json` it is the document "
        '`{"error": {"exit_code": ..., "found": ..., "needed": ..., "remedy": ...}}`. In Python they are '
        "exceptions with the attributes `found`, `needed` and `remedy`:"
    )
    for name in ERRORS:
        rows = [f"| `{kind.__name__}` | {_cell(kind.__doc__)} |" for kind in _kinds(name)]
        parts += [f"## `{name}`", "\n".join(["| error | meaning |", "|---|---|", *rows])]
    return "\n\n".join(parts) + "\n"


def _kinds(name: str) -> list[type[Exception]]:
    members = vars(importlib.import_module(name)).values()
    return [m for m in members if inspect.isclass(m) and issubclass(m, Exception) and m.__module__ == name]


def facts() -> str:
    """Every fact and reason that steps tell, with its fields, their units and its words."""
    from goafetch.words import FACTS, REASONS

    parts = [
        "# Facts that steps tell",
        "In `playground/events.jsonl` and, of what lasts, in `run.json` and `--json`: a `decision`, "
        "`warning` or `info` whose `fact` and numbers stand here, with the unit where it has one; what is "
        "told in % is a fraction. A reason stands as `reason`, with its numbers, beside the fact or the "
        "file that was left out. Words are made where they are shown and may change; names and numbers "
        "stay.",
    ]
    rows = [
        f"| `{name}` | {level} | {_fields(': '.join(texts))} | {_cell(': '.join(texts))} |"
        for name, (level, *texts) in FACTS.items()
    ]
    parts.append("\n".join(["| fact | told as | fields | words |", "|---|---|---|---|", *rows]))
    rows = [f"| `{name}` | {_fields(text)} | {_cell(text)} |" for name, text in REASONS.items()]
    parts += ["## Reasons", "\n".join(["| reason | fields | words |", "|---|---|---|", *rows])]
    return "\n\n".join(parts) + "\n"


def _fields(template: str) -> str:
    """The fields of a template with their units: a format's own, or the arcsec sign after it."""
    found = list(string.Formatter().parse(template))
    told = []
    for (_, name, form, _), (text, *_) in zip(found, [*found[1:], ("", None, None, None)], strict=True):
        unit = "arcsec" if text.startswith('"') else (form or "").partition(" ")[2]
        is_unit = unit and not (form or "").startswith("#")
        told += [f"`{name}` ({unit})" if is_unit else f"`{name}`"] if name else []
    return ", ".join(dict.fromkeys(told))


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|").replace("``", "`")


PAGES = {"commands.md": commands, "parameters.md": parameters, "errors.md": errors, "facts.md": facts}

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for page, make in PAGES.items():
        (FOLDER / page).write_text(make(), encoding="utf-8")
