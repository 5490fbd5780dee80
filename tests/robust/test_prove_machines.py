"""Whole commands on disks that lack something, emulated by small preloaded libraries, and from a wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

pytestmark = pytest.mark.prove

GOAFETCH = Path(sys.executable).with_name("goafetch")
ROOT = Path(__file__).parents[2]
HEAD = """#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
"""
NO_CHMOD = """int chmod(const char *p, mode_t m) { errno = EPERM; return -1; }
int fchmod(int d, mode_t m) { errno = EPERM; return -1; }
int fchmodat(int d, const char *p, mode_t m, int f) { errno = EPERM; return -1; }"""
NO_LINKS = """int symlink(const char *a, const char *b) { errno = EPERM; return -1; }
int symlinkat(const char *a, int d, const char *b) { errno = EPERM; return -1; }
int link(const char *a, const char *b) { errno = EPERM; return -1; }
int linkat(int a, const char *b, int c, const char *d, int e) { errno = EPERM; return -1; }"""
NO_LOCKS = "int flock(int f, int o) { errno = ENOLCK; return -1; }"
#: Linux's NFS: flock is a lock on bytes, of which a shared one wants a readable file.
NFS_LOCKS = """#include <sys/file.h>
#include <sys/syscall.h>
int flock(int f, int o) {
  int mode = fcntl(f, F_GETFL) & O_ACCMODE;
  int lacks = (o & LOCK_SH) ? mode == O_WRONLY : (o & LOCK_EX) ? mode == O_RDONLY : 0;
  if (lacks) { errno = EBADF; return -1; }
  return syscall(SYS_flock, f, o);
}"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
@pytest.mark.parametrize("source", [NO_CHMOD, NO_LINKS, NO_LOCKS, NFS_LOCKS])
def test_a_run_on_a_disk_that_lacks_something(source: str, tiny_night: Path, tmp_path: Path) -> None:
    (tmp_path / "lack.c").write_text(f"{HEAD}{source}\n")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", "lack.so", "lack.c"], cwd=tmp_path, check=True)
    command = [str(GOAFETCH), "run", str(tiny_night), "--into", "ws", "--catalog", "none", "--workers", "1"]
    environment = {**os.environ, "LD_PRELOAD": str(tmp_path / "lack.so")}
    for _ in range(2):  # the second finds all that the first has made
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert "nothing to do" in done.stderr
    assert not list((tmp_path / "ws/playdata").glob(".*"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel of this tree in ``direct``, and its sources and their wheel in ``through``."""
    folder = tmp_path_factory.mktemp("built")
    tree = folder / "tree"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".*", "build", "dist", "*.egg-info"))
    (tree / "goafetch-demo/playground").mkdir(parents=True, exist_ok=True)  # as `make demo` leaves it
    (tree / "goafetch-demo/playground/notes.py").write_text("")
    make = [sys.executable, "-m", "build", "--no-isolation", str(tree), "--outdir"]
    for command in ([*make, str(folder / "direct"), "--wheel"], [*make, str(folder / "through")]):
        subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    return next((built / "direct").glob("*.whl"))


def test_a_wheel_holds_the_three_packages_alone_and_is_that_of_the_sources(built: Path, wheel: Path) -> None:
    """The folder of `make demo` was taken for a package."""
    held = {each.filename: each.CRC for each in zipfile.ZipFile(wheel).infolist()}
    tops = {name.split("/")[0] for name in held}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"calstore", "goafetch", "reducer"}
    assert any(name.startswith("reducer/data/") for name in held)
    assert "goafetch/report/templates/page.html" in held
    (through,) = (built / "through").glob("*.whl")
    assert {each.filename: each.CRC for each in zipfile.ZipFile(through).infolist()} == held
    assert len(list((built / "through").glob("*.tar.gz"))) == 1


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Iterator[Path]:
    """A fresh environment with the wheel, which everybody may read."""
    folder = Path(tempfile.mkdtemp(prefix="goafetch-"))
    folder.chmod(0o755)
    subprocess.run([sys.executable, "-m", "venv", str(folder / "env")], check=True)
    subprocess.run([folder / "env/bin/python", "-m", "pip", "install", "--quiet", str(wheel)], check=True)
    yield folder / "env/bin/goafetch"
    shutil.rmtree(folder)


def demonstrate(command: Sequence[str | Path], folder: Path, **changes: str) -> None:
    """Run the demo in a folder; the page of its report must be there."""
    done = subprocess.run(
        [*command, "demo", "--into", "ws"],
        cwd=folder,
        env={**os.environ, **changes},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "ws/report/index.html").exists()


def test_the_demo_runs_where_the_wheel_was_installed_with_pip(installed: Path, tmp_path: Path) -> None:
    demonstrate([installed], tmp_path)


def test_the_demo_runs_where_the_wheel_was_installed_with_uv(wheel: Path, tmp_path: Path) -> None:
    places = {"UV_TOOL_DIR": str(tmp_path / "tools"), "UV_TOOL_BIN_DIR": str(tmp_path / "bin")}
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    install = [uv, "tool", "install", "--quiet", "--python", sys.executable, str(wheel)]
    subprocess.run(install, check=True, env={**os.environ, **places})
    demonstrate([tmp_path / "bin/goafetch"], tmp_path)


#: A number that no passwd knows.
SOMEBODY = ("setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", "--inh-caps=-all")


def python_for_others() -> str:
    """A Python that other users may start: of one in the home of root they may not."""
    for python in (sys.executable, "/usr/bin/python3"):
        # By a shell: what is started first still may what root may, its workers may not.
        asked = [*SOMEBODY, "sh", "-c", f"{python} -c 'import sys; sys.exit(sys.version_info < (3, 11))'"]
        if Path(python).exists() and not subprocess.run(asked, capture_output=True, cwd="/").returncode:
            return python
    pytest.skip(f"others may not start {Path(sys.executable).resolve()}, nor is there another Python")


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root can be another user")
def test_the_demo_runs_for_another_user_who_may_only_read_the_environment(wheel: Path) -> None:
    """Without a home."""
    python = python_for_others()
    folder = Path(tempfile.mkdtemp(prefix="goafetch-"))
    folder.chmod(0o755)
    subprocess.run([python, "-m", "venv", "--without-pip", str(folder / "env")], check=True)
    into = ["--python", str(folder / "env/bin/python"), "install", "--quiet", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", *into], check=True)
    own = folder / "own"
    own.mkdir()
    os.chown(own, 54321, 54321)
    bare = dict.fromkeys(("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "NUMBA_CACHE_DIR"), "")
    try:
        demonstrate(
            [*SOMEBODY, folder / "env/bin/goafetch"], own, HOME="/nonexistent", TMPDIR=str(own), **bare
        )
    finally:
        shutil.rmtree(folder)
