"""Standard streams that are closed, full or left by their reader, and text in other encodings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

GOAFETCH = Path(sys.executable).with_name("goafetch")
SHOWD = f"{GOAFETCH} showd"
RAW = "S20170505S0095.fits"


def bash(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        timeout=200,
    )
    assert b"Traceback" not in done.stderr and b"not foreseen" not in done.stderr, done.stderr
    return done


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (f"{SHOWD} >&-", 0),
        (f"{SHOWD} nosuch.fits -d object 2>&-", 2),
        (f"{GOAFETCH} login --archive http://127.0.0.1:9 <&-", 2),
        (f"{SHOWD} --json > /dev/full", 1),
        (f"{SHOWD} > /dev/full", 1),
        (f"{GOAFETCH} --version > /dev/full", 1),
        (f"{SHOWD} 2> /dev/full", 0),
        (f"{SHOWD} | true; exit ${{PIPESTATUS[0]}}", 141),
    ],
)
def test_the_exit_code_is_that_of_the_work(command: str, code: int, tmp_path: Path) -> None:
    if "| true" in command:
        command = command.replace(SHOWD, f"(sleep 0.3; exec {SHOWD})")
    assert bash(command, tmp_path).returncode == code


def test_a_run_whose_messages_nobody_reads_goes_on(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/S1.fits").write_text("no FITS")
    command = f"(sleep 0.3; exec {GOAFETCH} run ./raw --into ws --workers 1) 2>&1 >/dev/null | true"
    assert bash(f"{command}; exit ${{PIPESTATUS[0]}}", tmp_path).returncode == 1
    assert (tmp_path / "ws/report/index.html").exists()


def test_json_is_json_and_names_are_names_in_any_encoding(night: Path, tmp_path: Path) -> None:
    for name in ("Möller", os.fsdecode(b"bad\xff")):
        (tmp_path / name).mkdir()
        (tmp_path / name / RAW).symlink_to(night / RAW)
    done = bash(f"{SHOWD} M*/*.fits bad*/*.fits -d object --json", tmp_path, PYTHONIOENCODING="ascii")
    assert [row["filename"][:3] for row in json.loads(done.stdout)] == ["Möl", "bad"]
    done = bash(f"{GOAFETCH} dataselect bad*/*.fits", tmp_path)
    assert done.stdout == b"bad\xff/S20170505S0095.fits\n"
    bash(f"{GOAFETCH} dataselect bad*/*.fits -o list", tmp_path)
    for command in (f"{SHOWD} @list -d object", f"{SHOWD} -d object < list"):
        assert bash(command, tmp_path).stdout.startswith(b"bad\xff/S20170505S0095.fits\t")


def test_lists_with_a_mark_are_read_and_others_refused(night: Path, tmp_path: Path) -> None:
    (tmp_path / "marked").write_bytes(b"\xef\xbb\xbf" + bytes(night / RAW) + b"\r\n")
    (tmp_path / "wide").write_bytes(str(night / RAW).encode("utf-16"))
    for command, code in (("@marked", 0), ("< marked", 0), ("@wide", 2), ("< wide", 2)):
        assert bash(f"{SHOWD} -d object {command}", tmp_path).returncode == code
    assert b"UTF-16" in bash(f"{GOAFETCH} run @wide", tmp_path).stderr


def test_a_terminal_without_a_size_shows_errors(tmp_path: Path) -> None:
    command = f"script -qec '{SHOWD} nosuchfile.fits -d object' /dev/null < /dev/null"
    assert b"nosuchfile" in bash(command, tmp_path, COLUMNS="0", TERM="xterm").stdout
