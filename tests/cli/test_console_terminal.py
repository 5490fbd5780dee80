"""The commentary: what is shown when, and how errors end a command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from screen import open_screen

from goafetch import console
from goafetch.errors import ArchiveError, Failure, NothingFound, UsageError
from goafetch.events import (
    CalibrationChoice,
    Decided,
    Made,
    Other,
    Planned,
    Progressed,
    Refusal,
    Reused,
    Separation,
    SkyChoice,
    StageBegun,
    StageEnded,
    StepBegun,
    Wait,
    Warned,
    event_of,
)
from reducer.errors import BadFile


def tell(terminal):
    with terminal as notify:
        notify(Decided("sky from 7 exposures", "1500 sources an array"))
        notify(StageBegun("fetch", 2))
        notify(Progressed("fetch", 1, 2, 5_000_000))
        notify(Made("a.fits"))
        notify(Reused("b.fits"))
        notify(Refusal("c.fits", "filter Unknown"))
        notify(Warned("no catalogue"))
        notify(StageEnded("fetch"))
        notify(Other("unheard of", {"fact": 1}))


def test_off_a_terminal_the_story_is_plain_lines(capsys):
    tell(console.Terminal())
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert lines[:3] == [
        "sky from 7 exposures: 1500 sources an array",
        "left out c.fits: filter Unknown",
        "warning: no catalogue",
    ]
    assert lines[3] == "fetched 1 file, 1 unchanged, 1 left out"
    assert len(lines) == 4


def test_a_plan_comes_first_in_one_line_a_group(capsys):
    rows = [{"group": "NGC5128 Kshort 60 s", "frames": 16, "becomes": "S1_image.fits"},
            {"group": "NGC5128 Kshort 60 s, visit 2", "frames": 9, "becomes": ""}]  # fmt: skip
    console.Terminal()(Planned(rows))
    assert capsys.readouterr().err.splitlines() == [
        "plan: NGC5128 Kshort 60 s: 16 exposures for S1_image.fits",
        "plan: NGC5128 Kshort 60 s, visit 2: 9 exposures",
    ]


def test_stages_side_by_side_are_told_apart(capsys):
    terminal = console.Terminal()
    terminal(StageBegun("frames of A", group="A"))
    terminal(StageBegun("frames of B", group="B"))
    terminal(Separation(9, 7, "guided", group="B"))
    terminal(Decided("offset_sky=True", "the field is free", group="A"))
    terminal(CalibrationChoice("flat", "x.fits", group="A"))
    terminal(Made("a.fits", group="A"))
    terminal(Made("b.fits"))
    terminal(StageEnded("frames of B", group="B"))
    terminal(StageEnded("frames of A", group="A"))
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == [
        "B: 9 on target, 7 off target: the guided pointings are on target",
        "A: offset_sky=True: the field is free",
    ]
    assert [line.partition(" in ")[0] for line in lines[2:]] == ["frames of B: 1 made", "frames of A: 1 made"]


def test_steps_of_two_stages_keep_to_their_own_lines(monkeypatch):
    screen = open_screen(monkeypatch, "stderr", 100)
    with console.Terminal() as terminal:
        for group in "AB":
            terminal(StageBegun(f"frames of {group}", group=group))
        for name in ("prepare", "skyCorrect"):
            for group in "AB":
                terminal(StepBegun(name, 3, group=group))
                terminal(Made(f"{group}_{name}.fits", group=group))
                terminal(Progressed("stack", 2, 7, group=group))
        shown = [task.description for task in terminal._progress.tasks]
        assert shown == ["frames of A: skyCorrect", "frames of B: skyCorrect"]
        assert [task.fields["count"] for task in terminal._progress.tasks] == ["2/7", "2/7"]
        for group in "AB":
            terminal(StageEnded(f"frames of {group}", group=group))
        assert terminal._progress.tasks == []
    text = "".join(screen.lines())
    assert "frames of A: 2 made" in text and "frames of B: 2 made" in text


def test_steps_without_a_stage_share_a_line(monkeypatch):
    open_screen(monkeypatch, "stderr", 100)
    with console.Terminal() as terminal:
        for name in ("prepare", "makeFlat"):
            terminal(StepBegun(name, 30))
        assert [task.description for task in terminal._progress.tasks] == ["makeFlat"]
        terminal(StageBegun("report"))
        assert [task.description for task in terminal._progress.tasks] == ["report"]


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_numbers_of_a_stage_with_a_long_name_are_seen(monkeypatch, width):
    screen = open_screen(monkeypatch, "stderr", width)
    with console.Terminal() as terminal:
        terminal(StageBegun("frames of NGC5128 Kshort 60 s", group="A"))
        terminal(StepBegun("adjustWCSToReference", 9, group="A"))
        terminal(Progressed("stack", 17, 51, 33_500_000, group="A"))
        terminal._progress.refresh()
    text = "".join(screen.lines())
    assert "17/51" in text and "33.5 MB" in text and "frames of NGC5128" in text


def test_long_names_are_broken_and_never_cut(monkeypatch):
    screen = open_screen(monkeypatch, "stderr", 60)
    name = "GS-2017A-Q-29/" * 9
    with console.Terminal(verbose=True) as terminal:
        terminal(Decided("16 files", name))
    text = "".join(line.strip() for line in screen.lines())
    assert name in text and "…" not in text


def tell_of_three(terminal):
    terminal(StageBegun("frames of T", group="T"))
    for number, distance in enumerate((303.9, 305.6, 305.1)):
        told = {"file": f"S{number}.fits", "reason": "wcs_offset", "distance": distance, "group": "T"}
        terminal(event_of("wcs_rebuilt", told))
        terminal(SkyChoice(True, (f"S{number}.fits",), f"free {number}", group="T"))
    terminal(event_of("grid", {"width": 9, "height": 9, "scale": 0.02, "angle": 0, "group": "T"}))
    terminal(CalibrationChoice("flat", "f.fits", group="T"))
    terminal(event_of("clouds", {"file": "S1.fits", "ratio": 0.5, "ratio_error": 0.1, "group": "T"}))
    terminal(StageEnded("frames of T", group="T"))


def test_what_is_decided_alike_of_exposures_is_one_line(capsys):
    """An ordinary night had 269 lines for 61 files: four alike of the sky, one for each calibration."""
    with console.Terminal() as terminal:
        tell_of_three(terminal)
    assert capsys.readouterr().err.splitlines() == [
        "warning: T: S1.fits: transparency only 0.500 +- 0.100 of the first exposure",
        "T: WCS of S0.fits and 2 more rebuilt",
        "T: offset_sky=True",
        "frames of T",
    ]


def test_verbose_tells_each_with_its_reason(capsys):
    with console.Terminal(verbose=True) as terminal:
        tell_of_three(terminal)
    lines = capsys.readouterr().err.splitlines()
    assert 'T: WCS of S1.fits rebuilt: header disagreed with target + offsets by 305.6"' in lines
    assert "T: offset_sky=True: S2: free 2" in lines and "T: flat f.fits" in lines
    assert any("position angle" in line for line in lines)


def test_without_a_stage_each_exposure_has_its_line(capsys):
    """`reduce -r checkWCS` is asked for nothing else."""
    with console.Terminal() as terminal:
        for number in range(2):
            told = {"file": f"S{number}.fits", "reason": "wcs_offset", "distance": 300.0}
            terminal(event_of("wcs_wrong", told))
        terminal(event_of("grid", {"width": 9, "height": 9, "scale": 0.02, "angle": 0}))
    assert len(capsys.readouterr().err.splitlines()) == 3


def test_on_a_terminal_a_reason_that_does_not_fit_the_line_is_left_to_verbose(monkeypatch):
    event = Decided("zeropoint 26.053 +- 0.029 mag", "9132 in phot_standards; " + "errors " * 9)
    for verbose in (False, True):
        screen = open_screen(monkeypatch, "stderr", 80)
        with console.Terminal(verbose=verbose) as terminal:
            terminal(event)
        text = "".join(screen.lines())
        assert "zeropoint 26.053" in text and ("phot_standards" in text) == verbose


def test_verbose_names_every_file(capsys):
    tell(console.Terminal(verbose=True))
    err = capsys.readouterr().err
    assert "made a.fits" in err and "reused b.fits" in err and "fact=1" in err


def test_quiet_shows_what_went_wrong_alone(capsys):
    tell(console.Terminal(quiet=True))
    assert capsys.readouterr().err.splitlines() == [
        "left out c.fits: filter Unknown",
        "warning: no catalogue",
    ]


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_terminal_gets_bars_that_fit_and_go_away(monkeypatch, width):
    screen = open_screen(monkeypatch, "stderr", width)
    tell(console.Terminal())
    text = "".join(screen.lines())
    assert "0/2" in text and "! fetched 1 file, 1 unchanged, 1 left out" in text and "→ sky from" in text
    assert screen.getvalue().rstrip("\r").endswith("\x1b[?25h")  # the cursor is shown again


def test_what_the_archive_wants_us_to_wait_is_counted_down(monkeypatch):
    screen = open_screen(monkeypatch, "stderr", 100)
    with console.Terminal() as notify:
        notify(Wait(12, 12))
        notify(Wait(7, 12))
        notify._progress.refresh()
        shown = "".join(screen.lines())
        notify(Wait(0, 12))
        notify._progress.refresh()
    assert "waiting as the archive asks" in shown and "7 s left" in shown


def run(error, **options):
    @console.handled
    def command(json=False, format="table"):
        if error is not None:
            raise error
        return 0

    try:
        command(**options)
    except SystemExit as ended:
        return ended.code
    return 0


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, 0),
        (UsageError("unknown step", "one of a, b", "did you mean a?"), 2),
        (NothingFound("nothing matched", remedy="try another date"), 3),
        (ArchiveError("the archive is away"), 4),
        (BadFile("x.fits is cut short", "2880 bytes", "fetch it again"), 1),
        (OSError(28, "No space left on device", "y.fits"), 1),
        (KeyboardInterrupt(), 130),
        (KeyError("x"), 1),
    ],
)
def test_every_error_has_words_and_its_exit_code(capsys, monkeypatch, tmp_path, error, code):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert run(error) == code
    out, err = capsys.readouterr()
    assert out == "" and "Traceback" not in err
    assert bool(err) == (error is not None)


def test_an_error_says_found_needed_and_what_to_do(capsys):
    run(UsageError("unknown step 'skyCorect'", "one of a, b", "did you mean skyCorrect?"))
    assert capsys.readouterr().err.splitlines() == [
        "error: unknown step 'skyCorect'",
        "needed: one of a, b",
        "what to do: did you mean skyCorrect?",
    ]


@pytest.mark.parametrize("options", [{"json": True}, {"format": "json"}])
def test_in_json_mode_the_error_is_a_document(capsys, options):
    run(NothingFound("nothing matched", remedy="try another date"), **options)
    out, err = capsys.readouterr()
    assert err == ""
    assert json.loads(out)["error"] == {
        "exit_code": 3,
        "found": "nothing matched",
        "needed": "",
        "remedy": "try another date",
    }


def test_what_nobody_foresaw_leaves_its_traceback_in_a_file(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    run(ZeroDivisionError("by nothing"))
    (file,) = tmp_path.iterdir()
    assert str(file) in capsys.readouterr().err
    assert "ZeroDivisionError: by nothing" in file.read_text()


def test_debugging_shows_the_traceback_at_once(capsys, monkeypatch):
    monkeypatch.setenv("GOAFETCH_DEBUG", "1")
    run(ZeroDivisionError("by nothing"))
    assert "Traceback" in capsys.readouterr().err


def test_a_panel_fits_the_terminal(monkeypatch):
    screen = open_screen(monkeypatch, "stderr", 60)
    console.fail(Failure(2, "unknown [step] " + "x" * 100, "one of a, b", "read the help"))
    assert max(map(len, screen.lines())) <= 60
    assert "unknown [step]" in screen.getvalue()


PIPED = """
from goafetch.console import handled, show_table
@handled
def command():
    show_table({"n": n} for n in range(200000))
command()
"""


def test_a_reader_that_has_seen_enough_is_no_error():
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, "-c", PIPED], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout.readline() == b"0\n"
        process.stdout.close()
        assert process.wait(20) == 0
        assert process.stderr.read() == b""
