"""Servers, files and configuration that mean harm: refused in a sentence, or rendered harmless."""

from __future__ import annotations

import bz2
import http.server
import json
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from caged import memory_limit, time_limit
from quick_archive import QUICK
from tiny_program import LAMPS_OFF, LAMPS_ON, name_of

from goafetch.api.reduce import Task, reduce_files
from goafetch.archive import unpack
from goafetch.archive.client import ArchiveClient
from goafetch.archive.records import read_record
from goafetch.config import load_settings
from goafetch.errors import BadAnswer, Damaged, Elsewhere, UsageError
from goafetch.events import Warned
from goafetch.plan.sort import sort_frames
from goafetch.report.run_summary import Exclusion, RunSummary, write_summary
from reducer.errors import BadParameter
from reducer.fitsio import read_table
from reducer.select import describe_file, expr_parser

PEM = Path(__file__).resolve().parents[1] / "support" / "self_signed.pem"
TOKEN = "abcdefgh12345678"


@pytest.fixture
def self_signed() -> Iterator[str]:
    """An https server on this machine whose certificate nobody vouches for."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(PEM)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"https://localhost:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_a_certificate_that_nobody_vouches_for_is_refused_and_explained(self_signed: str) -> None:
    with pytest.raises(Elsewhere, match="certificate") as caught:
        ArchiveClient(self_signed, TOKEN, policy=QUICK).rows("jsonsummary", ("canonical",))
    assert "cannot be switched off" in caught.value.remedy and "REQUESTS_CA_BUNDLE" in caught.value.remedy
    assert caught.value.exit_code == 4
    assert TOKEN not in str(caught.value)


def test_a_folder_that_names_an_archive_does_not_get_the_token(tmp_path: Path) -> None:
    (tmp_path / "goafetch.toml").write_text('archive = "https://archive.example.org"\n')
    environment = {"GOAFETCH_TOKEN": TOKEN}
    assert load_settings(tmp_path, environment, tmp_path).token is None
    named = load_settings(tmp_path, environment, tmp_path, archive="https://archive.example.org")
    assert named.token == TOKEN
    assert load_settings(None, environment, tmp_path).token == TOKEN


def test_a_folder_cannot_name_the_cluster_that_runs_its_work(tmp_path: Path) -> None:
    (tmp_path / "goafetch.toml").write_text('cluster = "tcp://198.51.100.7:8786"\n')
    with pytest.raises(UsageError, match="names a cluster"):
        load_settings(tmp_path, {}, tmp_path)


@pytest.mark.parametrize(
    "text", ["workers = [1]", "archive = {a = 1}", "workers = ", "token = '\udcff'", "wrkers=1"]
)
def test_configuration_that_cannot_be_meant_is_a_usage_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "goafetch.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageError):
        load_settings(tmp_path, {}, tmp_path)


@pytest.mark.parametrize(
    "text",
    ["__import__('os').system('true')", "object.__class__", "exec('1')", "(" * 5000, "1" + "*9" * 500,
     "object == open('/etc/passwd').read()", "lambda: 1", "[x for x in ()]", "object == f'{1}'"],
)  # fmt: skip
def test_expressions_are_never_executed(text: str) -> None:
    with time_limit(5), pytest.raises(BadParameter):
        expr_parser(text)


def test_a_bomb_is_given_up_without_filling_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpack, "LARGEST_UNLISTED", 50_000_000)
    packer = bz2.BZ2Compressor()
    parts = [
        packer.compress(b"SIMPLE  ="),
        *(packer.compress(bytes(10**6)) for _ in range(80)),
        packer.flush(),
    ]
    bomb = tmp_path / "a.fits.bz2"
    bomb.write_bytes(b"".join(parts))
    with memory_limit(300_000_000), pytest.raises(Damaged, match="more than"):
        unpack.md5_of_content(str(bomb), 0, bomb.stat().st_size)
    with memory_limit(500_000_000), pytest.raises(Damaged, match="more than"):
        unpack.decompress(str(bomb), str(tmp_path / "a.fits"), unpack.Expected())
    assert not (tmp_path / "a.fits").exists()


@pytest.mark.parametrize(
    "name",
    [
        "../x.fits",
        "a/b.fits",
        "a\nb.fits",
        "a\x00b.fits",
        "\x1b[2Jx.fits",
        ".fits",
        "x.fits\r\nSet-Cookie: a",
    ],
)
def test_names_that_are_no_plain_names_are_refused(tiny_folder: Path, name: str) -> None:
    row = json.loads((tiny_folder / "holdings.json").read_text())[0] | {
        "name": name,
        "filename": f"{name}.bz2",
    }
    with pytest.raises(BadAnswer):
        read_record(row)


def test_markup_in_fields_is_text_in_the_report(tmp_path: Path) -> None:
    from goafetch.report.page import make_report

    evil = "<script>alert('x')</script><img src=x onerror=alert(1)>"
    left = (Exclusion("a.fits", evil),)
    summary = RunSummary(
        program=evil, command=evil, started="2026-01-01T00:00:00", exclusions=left, warnings=(Warned(evil),)
    )
    (tmp_path / "playground").mkdir()
    write_summary(tmp_path, summary)
    page = make_report(tmp_path).read_text()
    assert "<script>alert(" not in page
    assert "<img src=x" not in page


def test_a_recipe_of_the_users_own_stands_in_the_provenance(tiny_night: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.py"
    recipe.write_text("from reducer.recipes import makeProcessedFlat\nflat = makeProcessedFlat\n")
    files = [tiny_night / name_of(number) for number in (*LAMPS_ON, *LAMPS_OFF)]
    [made] = reduce_files(Task(files=files, recipe=f"{recipe}:flat", folder=tmp_path, workers=1))
    rows = read_table(made, "PROVENANCE")
    assert rows is not None
    assert [
        str(row["filename"])
        for row in rows
        if row["provenance_added_by"] == b"recipe" or row["provenance_added_by"] == "recipe"
    ] == ["mine.py"]


def test_a_recipe_file_in_the_folder_is_not_run_by_itself(tiny_night: Path, tmp_path: Path) -> None:
    (tmp_path / "recipes.py").write_text("raise SystemExit('executed')\n")
    frames = [(path, describe_file(path)) for path in sorted(tiny_night.iterdir())]
    assert len(sort_frames(frames)[0]) == len(frames)
