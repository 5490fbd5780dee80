"""The examples of a documentation page: found, checked to parse, and run in their order."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from typer.main import get_command

#: The words by which a page shows its reader that a block is not run by the tests, and why.
SHOWN_ONLY = re.compile(r"^# (not run here|for you to fill in): \S", re.M)
FENCE = re.compile(r"^```(?P<kind>[^\n]*)\n(?P<body>.*?)^```", flags=re.S | re.M)
RUNNABLE = ("sh", "console", "python")


@dataclass(frozen=True)
class Example:
    """One fenced block: ``kind`` is its info string, ``line`` where it begins in ``page``."""

    page: Path
    line: int
    kind: str
    body: str

    @property
    def is_run(self) -> bool:
        """Whether it is run, not only looked at."""
        return self.kind in RUNNABLE and not SHOWN_ONLY.search(self.body)

    @property
    def script(self) -> str:
        """What is typed: of a console the lines after its prompts."""
        if self.kind != "console":
            return self.body
        return "".join(line[2:] + "\n" for line in self.body.splitlines() if line.startswith("$ "))

    @property
    def answers(self) -> list[str]:
        """The lines that a console shows in answer, but for those that leave something out."""
        shown = [line for line in self.body.splitlines() if not line.startswith("$ ")]
        return [line for line in shown if self.kind == "console" and line.strip() and "..." not in line]

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def examples_of(page: Path) -> list[Example]:
    """All fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Example(page, text.count("\n", 0, found.start()) + 1, _kind(found), found["body"])
        for found in FENCE.finditer(text)
    ]


def _kind(found: re.Match[str]) -> str:
    """A block's info string; one without is a shell's if it types this program, else text."""
    typed = all(re.match(r"goafetch \w+(?!.*: )", line) for line in found["body"].splitlines())
    return found["kind"] or ("sh" if typed else "text")


def commands_in(script: str) -> list[list[str]]:
    """The words of each `goafetch ...` that a shell script types, wherever it stands in a line."""
    joined = script.replace("\\\n", " ")
    found = []
    for line in joined.splitlines():
        inner = re.findall(r"\$\((goafetch [^)]*)\)", line)
        outer = re.sub(r"\$\([^)]*\)", "INNER", line)
        for part in [*re.split(r"\||&&|;", outer), *inner]:
            words = shlex.split(part, comments=True)
            if words and words[0] == "goafetch":
                found.append(words[1:])
    return found


def check_command(words: list[str], app: object) -> None:
    """Fail for a command or an option that does not exist."""
    command = get_command(app)  # type: ignore[arg-type]
    rest = list(words)
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        assert name in command.commands, f"no command {name!r}: goafetch {' '.join(words)}"
        command = command.commands[name]
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    used = {word.split("=")[0] for word in rest if re.match(r"--?[a-zA-Z]", word)}
    assert used <= known | {"--help", "-h", "--version", "--install-completion"}, (
        f"{used - known}: goafetch {' '.join(words)}"
    )


@dataclass
class Reader:
    """Somebody who types a page's examples one after the other in a folder."""

    folder: Path
    environment: dict[str, str]

    def type(self, example: Example) -> str:
        """Type one block; returns what was said on either stream. Fails as the block does."""
        if example.kind == "python":
            return self._python(example)
        return self._shell(example)

    def _shell(self, example: Example) -> str:
        place = self.folder / ".where"
        before = f"cd {shlex.quote(place.read_text().strip())}\n" if place.exists() else ""
        script = f"{before}set -e\n{example.script}\npwd > {shlex.quote(str(place))}\n"
        return self._run(["bash", "-c", script], example)

    def _python(self, example: Example) -> str:
        """Python blocks of a page are one program; one that begins with a file's name is saved as that."""
        name = re.match(r"# (\w+\.py)\n", example.body)
        if name:
            (self.folder / name[1]).write_text(example.body)
        program = self.folder / ".program.py"
        earlier = program.read_text() if program.exists() else ""
        text = self._run([sys.executable, "-c", earlier + example.script], example)
        program.write_text(earlier + example.script + "\n")
        return text

    def _run(self, command: list[str], example: Example) -> str:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=os.environ | self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            check=False,
        )
        as_shown = (done.returncode != 0) == any(line.startswith("error:") for line in example.answers)
        assert as_shown, f"{example}:\n{example.script}\n{done.stdout}"
        return done.stdout
