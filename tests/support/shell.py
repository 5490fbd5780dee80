"""Types `goafetch ...` in tests and tells what came of it."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import Any

from typer.testing import CliRunner


@dataclass(frozen=True)
class Typed:
    """What a command did: its exit code, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Shell:
    """Types `goafetch ...` in the present folder."""

    def __call__(self, command: str, stdin: str | None = None) -> Typed:
        from goafetch.cli import app

        result = CliRunner().invoke(app, shlex.split(command), input=stdin)
        return Typed(result.exit_code, result.stdout, result.stderr)
