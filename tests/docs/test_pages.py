"""The documentation says what the code says: its pages are current, and what they type exists."""

import importlib.util
import re
import warnings
from pathlib import Path

import pytest

from reducer.recipes import STEPS

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(DOCS.rglob("*.md"))


def generate():
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["commands.md", "parameters.md", "errors.md"])
def test_generated_pages_are_current(page):
    text = (DOCS / "reference" / page).read_text(encoding="utf-8")
    assert text == generate().PAGES[page](), "run `python docs/generate.py`"


def test_every_command_has_the_options_of_all():
    """showpars had neither --verbose nor --quiet."""
    commands = generate().PAGES["commands.md"]().split("\n## ")[1:]
    common = ("--json", "--verbose", "--quiet", "--debug")
    assert {text.split("`")[1]: [one for one in common if f"`{one}`" not in text] for text in commands} == {
        text.split("`")[1]: [] for text in commands
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_every_parameter_of_a_page_exists(page):
    for step, name in re.findall(r"`([a-z][a-zA-Z]+):([a-zA-Z_]+)[`=]", page.read_text(encoding="utf-8")):
        assert name in STEPS[step].known, f"{step}:{name}"


def test_the_site_builds_without_a_warning(tmp_path):
    build = pytest.importorskip("sphinx.cmd.build", reason="Sphinx is not installed")
    with warnings.catch_warnings():  # of extensions about their host's future
        warnings.simplefilter("ignore")
        code = build.main(["-W", "-q", "-E", "-b", "html", str(DOCS), str(tmp_path)])
    assert code == 0
    assert (tmp_path / "index.html").exists()


def test_the_pictures_of_the_explanations_are_there_and_small():
    spec = importlib.util.spec_from_file_location("pictures", DOCS / "pictures.py")
    pictures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pictures)
    shown = set(re.findall(r"images/(why-\w+\.png)", "".join(page.read_text() for page in PAGES)))
    assert shown == set(pictures.PICTURES)
    assert all((DOCS / "images" / name).stat().st_size < 150_000 for name in shown)
