"""Ctrl-C while a command begins, and while several programs wait for an archive that says nothing."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

GOAFETCH = Path(sys.executable).with_name("goafetch")
#: Stands in for a module that the command imports as it begins: it tells that it is there, and waits.
SLOW = "import time\nprint('here', flush=True)\ntime.sleep(60)\n"


@pytest.mark.parametrize("module", ["typer", "platformdirs"])
def test_a_command_that_has_hardly_begun_ends_without_a_traceback(module: str, tmp_path: Path) -> None:
    (tmp_path / f"{module}.py").write_text(SLOW)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.argv = ['/bin/goafetch', 'whoami']\n"
    with subprocess.Popen(
        [sys.executable, "-c", f"{code}from goafetch.cli import main; main()"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1]
    assert (process.returncode == 130 and "interrupted" in said) or "kept" in said
    assert "Traceback" not in said


def test_searches_of_several_programs_that_hear_nothing_end_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with subprocess.Popen(
            [str(GOAFETCH), "run", "GS-2017A-Q-29", "GS-2018A-Q-1", "--archive", url, "--workers", "1"],
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        ) as process:
            silent.settimeout(60)
            connection, _ = silent.accept()
            with connection:
                connection.recv(10)
                process.send_signal(signal.SIGINT)
                said = process.communicate(timeout=40)[1]  # an answer would be waited for longer
    assert process.returncode == 130 and "Traceback" not in said, said
