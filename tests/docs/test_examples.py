"""Every example of the documentation: it parses, its options exist, and it runs as the page shows it."""

import ast
import bz2
import re
import shutil
import sys
import tarfile
from pathlib import Path
from urllib.request import urlopen

import pytest
from examples import RUNNABLE, Reader, check_command, commands_in, examples_of

from goafetch.cli import app
from reducer.recipes import parse

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]
WITH_EXAMPLES = [page for page in PAGES if any(e.is_run for e in examples_of(page))]
PROGRAM, DATES = "GS-2017A-Q-29", "20170504-20170505"
#: Workspaces in which the main job is done when the reader of a page comes: its examples repeat it, change
#: parameters, or start from there. Other tests begin with nothing.
DONE_BEFORE = {
    "README.md": ("ngc5128", PROGRAM),
    "index.md": (PROGRAM,),
    "own-program.md": (PROGRAM, "ngc5128"),
    "cluster.md": (PROGRAM, f"reduced/{PROGRAM}"),
}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_block_says_what_it_is(page):
    for example in examples_of(page):
        assert example.kind in (*RUNNABLE, "text", "toml", "ini") or example.kind[0] == "{", str(example)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_example_parses_and_its_options_exist(page):
    for example in examples_of(page):
        if example.kind == "python":
            ast.parse(example.body)
        elif example.kind in RUNNABLE:
            for words in commands_in(example.script):
                check_command(words, app)
                settings = [words[n + 1] for n, word in enumerate(words) if word == "-p"]
                parse(tuple(text.split("=", 1) for text in settings))


@pytest.fixture(scope="module")
def archive():
    """The practice archive, on this machine."""
    from goafetch.practice.archive import prepare
    from goafetch.practice.server import serve

    with serve(prepare()) as served:
        yield served


@pytest.fixture(scope="module")
def finished(archive, tmp_path_factory):
    """A workspace in which the main job has been done."""
    from goafetch import run

    root = tmp_path_factory.mktemp("finished") / PROGRAM
    run(PROGRAM, date=DATES, archive=archive.url, into=root, workers=2)
    return root


@pytest.fixture
def reader(archive, tmp_path):
    """Somebody with an empty folder, no configuration, and the practice archive for the real one."""
    home = tmp_path / "home"
    home.mkdir()
    folder = tmp_path / "here"
    folder.mkdir()
    return Reader(
        folder,
        {
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home),
            "GOAFETCH_ARCHIVE": archive.url,
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "MPLBACKEND": "agg",
        },
    )


def prepare_folder(page, folder, finished, archive):
    """What a page takes for granted: a finished workspace, raw files, lists, downloads of a browser."""
    raw = [path for path in (finished / "playdata").iterdir() if path.suffix == ".fits"]
    if "DIR" in page.read_text(encoding="utf-8"):
        copy_workspace(finished, folder / "DIR")
    for place in DONE_BEFORE.get(page.name, ()):
        copy_workspace(finished, folder / place)
    (folder / "programs.txt").write_text(f"{PROGRAM}\n")
    for name in ("FOLDER", "goafetch-tutorial/playdata"):
        (folder / name).mkdir(parents=True)
        for path in raw:
            (folder / name / path.name).symlink_to(path)
    (folder / "goafetch-tutorial/playground").mkdir()
    if page.name == "recipe.md":
        names = sorted(path for path in raw if "S20170505S0095" <= path.stem <= "S20170505S0110")
        (folder / "science.lis").write_text("".join(f"{path}\n" for path in names))
        shutil.copytree(finished / "playground/calibrations", folder / "calibrations")
    for tar in re.findall(r"\S+\.tar\b", "".join(e.body for e in examples_of(page))):
        if tar.startswith("gemini_"):
            download(f"{archive.url}/download/{PROGRAM}/science/NotFail/GSAOI", folder / tar)
            continue
        with tarfile.open(folder / tar, "w") as file:
            for path in raw:
                file.add(path, path.name)
    for path in raw[:2]:
        (folder / f"{path.name}.bz2").write_bytes(bz2.compress(path.read_bytes(), 1))


def download(url, path):
    """Save what a browser would."""
    with urlopen(url) as answer:
        path.write_bytes(answer.read())


def copy_workspace(source, target):
    """A copy whose files are links to the first one's: products are replaced, never written into."""
    shutil.copytree(source, target, copy_function=lambda a, b: Path(b).hardlink_to(a))


@pytest.mark.prove
@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_example_runs(page, reader, finished, archive):
    prepare_folder(page, reader.folder, finished, archive)
    for example in examples_of(page):
        if not example.is_run:
            continue
        said = reader.type(example)
        for line in example.answers:
            assert " ".join(line.split()) in " ".join(said.split()), f"{example}: {line}\n{said}"
