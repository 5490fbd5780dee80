"""What `goafetch export` hands on: lists, calibrations, commands and catalogues that others can use."""

import json
import re
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from mocpy import MOC
from small_workspace import GAP, GROUP, SCALE, SIZE, story, wcs_header, write_workspace
from typer.main import get_command

from goafetch.cli import app
from goafetch.errors import WorkspaceError
from goafetch.events import CalibrationChoice, SkyChoice, event_of, what
from goafetch.report.export import ORDER, as_footprint, as_typed, export, list_steps
from goafetch.report.run_summary import Product, write_summary
from goafetch.report.stack_file import WORLD
from goafetch.text import file_name

FLAT = "S20170505S0030_flat.fits"
SLUG = "NGC5128_Kshort_60s"


@pytest.fixture(scope="module")
def handed_on(tmp_path_factory):
    """A workspace with spaces in its name, exported to a folder of its own."""
    root = write_workspace(tmp_path_factory.mktemp("a work space") / "night")
    frame = "playground/S20170505S0095_skyCorrected.fits"
    told = story("playground/S20170505S0095_image.fits")
    parameters = {"skyCorrect": {"level": "first"}, "prepare": {"bad_wcs": "fix"}}
    products = (*told.products, Product(frame, "on target", f"{GROUP}, visit 2", GROUP))
    write_summary(root, replace(told, parameters=parameters, products=products))
    into = root.parent / "steps"
    export(root, into)
    return root, into


def test_lists_name_files_from_where_they_stand(handed_on):
    root, into = handed_on
    names = (into / f"{SLUG}.lis").read_text().splitlines()
    assert len(names) == 16
    assert (into / names[0]).resolve() == (root / "playdata/S20170505S0095.fits").resolve()
    made = (into / f"{SLUG}_stack.lis").read_text().splitlines()
    assert made == ["../night/playground/S20170505S0095_skyCorrected.fits"]


def test_calibrations_lie_where_dragons_looks_and_are_copies(handed_on):
    root, into = handed_on
    flat = into / "calibrations/processed_flat" / FLAT
    original = root / "playground/calibrations/processed_flat" / FLAT
    assert flat.read_bytes() == original.read_bytes() and not flat.samefile(original)
    assert re.search(r"databases = /.*/steps/cal_manager.db get store", (into / "dragonsrc").read_text())


def test_scripts_are_shell_and_their_commands_exist(handed_on):
    _, into = handed_on
    commands = get_command(app).commands
    for name in ("goafetch.sh", "dragons.sh"):
        subprocess.run(["sh", "-n", into / name], check=True)
        assert (into / name).stat().st_mode & 0o100
    typed = [line for line in (into / "goafetch.sh").read_text().splitlines() if line.startswith("goafetch")]
    assert [shlex.split(line)[1] for line in typed] == ["caldb", "reduce", "disco"]
    assert {shlex.split(line)[1] for line in typed} <= set(commands)
    assert f"reduce @{SLUG}.lis -p skyCorrect:level=first -p prepare:bad_wcs=fix" in typed[1]
    assert f"caldb add calibrations/processed_flat/{FLAT}" in (into / "dragons.sh").read_text()


def test_dragons_detects_sources_before_it_aligns_and_takes_no_name_that_is_there(handed_on):
    """Its alignment needs an OBJCAT, and its stack is called as ours is."""
    _, into = handed_on
    script = (into / "dragons.sh").read_text()
    assert f"reduce @{SLUG}_stack.lis -r detectSources\nreduce @{SLUG}_sources.lis -r alignAndStack" in script
    assert script.index("cd dragons") < script.index("reduce @")
    theirs = into / "dragons"
    names = (theirs / f"{SLUG}_stack.lis").read_text().split()
    assert names == ["../../night/playground/S20170505S0095_skyCorrected.fits"]
    assert (theirs / f"{SLUG}_sources.lis").read_text().split() == ["S20170505S0095_sourcesDetected.fits"]


def test_a_stack_is_repeated_with_all_that_it_was_made_with(tmp_path):
    """Catalogues, magnitudes and the standard's stack, as the product itself tells."""
    root = write_workspace(tmp_path / "night")
    (root / "playground/catalogs").mkdir()
    (root / "playground/catalogs/gaia.csv").touch()
    stack, standard = "playground/S20170505S0095_image.fits", "playground/S20170504S0114_image.fits"
    told = story(stack)
    products = (*told.products, Product(standard, "standard", "9132 Kshort 30 s"))
    chosen = {
        "determineAstrometricSolution": {"catalog": str(root / "playground/catalogs/gaia.csv"), "order": 3},
        "measureZeropoint": {"standard": str(root / standard), "catalog": None},
        "stackFrames": {"fill": "nan", "lsigma": 4.0},
    }
    rows = [("", "", step, json.dumps(values)) for step, values in chosen.items()]
    kinds = [(name, "U300") for name in ("timestamp_start", "timestamp_stop", "primitive", "args")]
    with fits.open(root / stack, mode="update") as file:
        file.append(
            fits.BinTableHDU(np.array(rows, kinds).astype([(n, "S300") for n, _ in kinds]), name="HISTORY")
        )
    steps = list_steps(replace(told, products=products), root, root / "export")
    typed = [step.goafetch for step in steps if "disco" in step.goafetch]
    assert typed[0] == "goafetch disco @9132_Kshort_30s_stack.lis -o 9132_Kshort_30s.fits"
    assert shlex.split(typed[1])[5:] == [
        "-p", "determineAstrometricSolution:catalog=../playground/catalogs/gaia.csv",
        "-p", "measureZeropoint:standard=9132_Kshort_30s.fits",
        "-p", "stackFrames:lsigma=4.0",
    ]  # fmt: skip


def test_a_recipe_of_ones_own_is_in_the_commands(tmp_path):
    """The commands were those of the usual recipes, and gave them parameters of steps that they lack."""
    root = write_workspace(tmp_path / "night")
    parameters = {"keepFirst": {"number": 3}, "skyCorrect": {"level": "first"}}
    told = replace(story("playground/S20170505S0095_image.fits"), parameters=parameters)

    def typed(**recipes: str) -> list[str]:
        return [step.goafetch for step in list_steps(replace(told, recipes=recipes), root, root / "export")]

    mine = f"{tmp_path / 'my recipes.py'}:mine"
    frames, stack = typed(stacks=mine)
    assert frames == f"goafetch reduce @{SLUG}.lis -p skyCorrect:level=first"
    assert stack == (f"goafetch reduce @{SLUG}_stack.lis -r '../../my recipes.py:mine' -p keepFirst:number=3")
    frames, stack = typed(frames=mine, stacks=mine)
    assert "-r '../../my recipes.py:mine' -p keepFirst:number=3 -p skyCorrect:level=first" in frames
    assert stack.startswith(f"goafetch disco @{SLUG}_stack.lis")
    frames, _ = typed(frames="ultradeep", stacks="ultradeep")
    assert frames == f"goafetch reduce @{SLUG}.lis -r ultradeep -p skyCorrect:level=first"


def test_catalogues_say_the_same_in_every_form(handed_on):
    _, into = handed_on
    ecsv = Table.read(into / "S20170505S0095_image.ecsv", format="ascii.ecsv")
    table = Table.read(into / "S20170505S0095_image_catalogue.fits")
    circles = re.findall(r"circle\(([\d.]+),", (into / "S20170505S0095_image.reg").read_text())
    text = Table.read(into / "S20170505S0095_image.csv")
    assert len(ecsv) == len(table) == len(circles) == 30
    assert list(ecsv["X_IMAGE"]) == list(table["X_IMAGE"]) == list(text["X_IMAGE"])
    assert list(ecsv["RA"]) == pytest.approx([float(x) for x in circles], abs=2e-8)
    assert ecsv["X_IMAGE"].unit == table["X_IMAGE"].unit == "pix"


def test_a_footprint_is_all_cells_that_hold_a_pixel_with_data(tmp_path):
    """It lacked what lay between the pixels that were looked at: up to 0.6 arcsec along every edge."""
    y, x = np.mgrid[:SIZE, :SIZE]
    has_data = np.hypot(x - 320, y - 320) < 300
    has_data[GAP] = False
    has_data[320, 300] = has_data[3, 635] = True
    header = wcs_header()
    world = {key: header[key] for key in WORLD}
    (tmp_path / "moc.fits").write_bytes(as_footprint(has_data, world, SCALE * 3600, "FK5"))
    header["RADESYS"] = "FK5"
    places = WCS(header).pixel_to_world(x[has_data], y[has_data])
    assert MOC.load(tmp_path / "moc.fits", "fits") == MOC.from_skycoords(places, max_norder=ORDER)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # astrodata closes no file
def test_astrodata_opens_what_is_handed_on(astrodata, handed_on):
    _, into = handed_on
    opened = astrodata.open(str(into / "calibrations/processed_flat" / FLAT))
    assert len(opened) == 4
    for number, chip in enumerate(opened):
        with fits.open(into / "calibrations/processed_flat" / FLAT) as file:
            assert (chip.data == file["SCI", number + 1].data).all()


def test_a_missing_calibration_is_named(tmp_path):
    root = write_workspace(tmp_path)
    told = story("playground/S20170505S0095_image.fits")
    calibration = CalibrationChoice("mask", "bpm_20121104.fits", group=GROUP)
    write_summary(root, replace(told, decisions=(calibration,)))
    with pytest.raises(WorkspaceError, match=r"bpm_20121104\.fits is not in"):
        export(root, tmp_path / "out")


def test_offset_sky_is_told_to_dragons_as_it_was_decided(tmp_path):
    told = story("playground/S20170505S0095_image.fits")
    decided = SkyChoice(False, ("S20170505S0095.fits",), "the target fills the field", group=GROUP)
    steps = list_steps(replace(told, decisions=(decided,)), tmp_path)
    assert steps[0].dragons.endswith("-p prepare:bad_wcs=fix skyCorrect:offset_sky=False")


@pytest.mark.parametrize(
    ("facts", "words", "command", "comment"),
    [
        ({"light": 3.5}, "own medians less 3.5 e- from objects", "offset_sky=True", "left in the 3.5"),
        ({"light": 3.5, "weighed": True}, "3.5 e- from objects, weighted", "offset_sky=True", "weighted"),
        ({"scale_sky": True}, "scale_sky=True", "offset_sky=False skyCorrect:scale_sky=True", ""),
        ({}, "offset_sky=True", "offset_sky=True", ""),
    ],
)
def test_the_sky_level_is_told_as_it_was_taken(tmp_path, facts, words, command, comment):
    """`offset_sky=True` stood for a median from which the light expected of objects was taken off, and for
    scale_sky."""
    decided = SkyChoice(True, ("S20170505S0095.fits",), "no sky exposures", group=GROUP, **facts)
    assert words in what(decided) and event_of("sky", facts | {"offset_sky": True, "frames": ["S1"]})
    told = story("playground/S20170505S0095_image.fits")
    *above, last = list_steps(replace(told, decisions=(decided,)), tmp_path)[0].dragons.splitlines()
    assert last.endswith(f"-p prepare:bad_wcs=fix skyCorrect:{command}")
    assert (not above and not comment) or (above[0].startswith("# ") and comment in above[0])


def test_names_and_parameters_are_read_from_what_was_typed():
    assert file_name("NGC 5128 / b Kshort 60 s x 2, visit 2") == "NGC_5128_b_Kshort_60s_x_2_visit_2"
    assert as_typed({"a": {"b": 1, "d": "x y"}, "c": {"e": ("f", "g")}}) == ["a:b=1", "a:d=x y", "c:e=f,g"]
    assert Path(file_name("../../etc/x")).name == file_name("../../etc/x")
