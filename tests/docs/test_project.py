"""What the project's own files say of it agrees: versions, Pythons, and what a wheel holds."""

import inspect
import re
import tomllib
from pathlib import Path

import yaml

import goafetch

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_version_stands_in_one_place_and_the_changelog_begins_with_it():
    assert PROJECT["project"]["dynamic"] == ["version"]
    newest = re.search(r"^## (\S+?),? ", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest and newest[1] == goafetch.__version__.split(".dev")[0]


def test_every_python_that_is_promised_is_tested():
    promised = re.findall(r"Python :: (3\.\d+)", " ".join(PROJECT["project"]["classifiers"]))
    workflow = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text(encoding="utf-8"))
    assert workflow["jobs"]["tests"]["strategy"]["matrix"]["python"] == promised
    assert PROJECT["project"]["requires-python"] == f">={promised[0]}"


def test_a_wheel_holds_the_three_packages_alone():
    packages = PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {name.split(".")[0] for name in packages} == {"goafetch", "calstore", "reducer"}
    assert all(re.fullmatch(r"\w+(\.\*)?", name) for name in packages), "no folder beside them"


def test_what_a_user_calls_is_listed_with_all_that_it_takes():
    """`goafetch.run` took **choices, of which neither help nor completion told."""
    assert {"run", "search", "fetch", "view", "watch"} == set(dir(goafetch)) - {"__version__"}
    for name in set(dir(goafetch)) - {"__version__"}:
        taken = inspect.signature(getattr(goafetch, name)).parameters.values()
        assert not any(each.kind is each.VAR_KEYWORD for each in taken), name
    assert "date" in inspect.signature(goafetch.run).parameters
