"""Run the suite with the oldest dependencies that pyproject allows, and the newest on each Python found."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.11", "3.12", "3.13")
#: Every environment by its name: its Python, and how uv chooses versions.
ENVIRONMENTS = {
    "3.11-oldest": ("3.11", "lowest-direct"),
    **{python: (python, "highest") for python in PYTHONS},
}


def main() -> int:
    """Make each environment outside the tree and run the suite in it; 1 if it fails in any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=ENVIRONMENTS, help="this one; may be repeated")
    parser.add_argument("-n", "--workers", default="2", help="how many tests at a time")
    chosen = parser.parse_args()
    failed = []
    with tempfile.TemporaryDirectory(prefix="goafetch-versions-") as folder:
        for name in chosen.only or ENVIRONMENTS:
            python, resolution = ENVIRONMENTS[name]
            found = find(python)
            if found is None:
                print(f"{name}: not found on this machine")
                continue
            print(f"{name}: {found}", flush=True)
            if not suite_passes(found, resolution, Path(folder) / name, chosen.workers):
                failed.append(name)
    print(f"failed: {', '.join(failed)}" if failed else "the suite passes in every environment")
    return int(bool(failed))


def find(python: str) -> str | None:
    """An interpreter of a version that runs: on the path, or one that pyenv keeps; None if there is none."""
    kept = Path("~/.pyenv/versions").expanduser().glob(f"{python}.*/bin/python")
    for candidate in (f"python{python}", *map(str, sorted(kept))):
        try:
            ended = subprocess.run([candidate, "--version"], capture_output=True, text=True)
        except OSError:
            continue
        if ended.returncode == 0 and ended.stdout.startswith(f"Python {python}."):
            return candidate
    return None


def suite_passes(python: str, resolution: str, folder: Path, workers: str) -> bool:
    """Install into a fresh environment, from wheels alone, and run the tests there."""
    interpreter, exact = str(folder / "bin" / "python"), folder.with_name(f"{folder.name}.txt")
    choice = ["--extra", "test", "--resolution", resolution, "pyproject.toml", "-o", str(exact)]
    wheels = ["--only-binary", ":all:", "-r", str(exact)]
    steps = [
        [*UV, "venv", "--quiet", "--python", python, str(folder)],
        [*UV, "pip", "compile", "--quiet", "--python", interpreter, *choice],
        [*UV, "pip", "install", "--quiet", "--python", interpreter, *wheels],
        [*UV, "pip", "install", "--quiet", "--python", interpreter, "--no-deps", "--editable", "."],
        # What other versions of others' code warn of is no failure here.
        [
            interpreter,
            "-m",
            "pytest",
            "-n",
            workers,
            "--dist",
            "loadfile",
            "-m",
            "not prove",
            "-W",
            "default",
        ],
    ]
    return all(subprocess.run(step, cwd=ROOT).returncode == 0 for step in steps)


UV = [sys.executable, "-m", "uv"]

if __name__ == "__main__":
    sys.exit(main())
