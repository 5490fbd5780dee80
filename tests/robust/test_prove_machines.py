"""Whole commands on disks that lack something, emulated by small preloaded libraries, and from a wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
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
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    tree = folder / "tree"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".*", "build", "dist", "*.egg-info"))
    command = [sys.executable, "-c", "import setuptools.build_meta as b; b.build_wheel('..')"]
    subprocess.run(command, cwd=tree, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_a_wheel_holds_the_three_packages_alone(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"calstore", "goafetch", "reducer"}
    assert any(name.startswith("reducer/data/") for name in names)
    assert "goafetch/report/templates/page.html" in names


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_the_demo_runs_from_an_installed_wheel(tool: str, wheel: Path, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "UV_TOOL_DIR": str(tmp_path / "tools"),
        "UV_TOOL_BIN_DIR": str(tmp_path / "bin"),
    }
    if tool == "pip":
        subprocess.run([sys.executable, "-m", "venv", str(tmp_path)], check=True)
        install = [str(tmp_path / "bin/python"), "-m", "pip", "install", "--quiet", str(wheel)]
    else:
        uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
        install = [uv, "tool", "install", "--quiet", "--python", sys.executable, str(wheel)]
    subprocess.run(install, check=True, env=environment)
    done = subprocess.run(
        [str(tmp_path / "bin/goafetch"), "demo", "--into", "ws"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "ws/report/index.html").exists()
