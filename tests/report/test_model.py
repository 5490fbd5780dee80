"""The story of a run survives being saved, and a damaged one is refused in words."""

from dataclasses import replace

import pytest

from goafetch.errors import WorkspaceError
from goafetch.events import CalibrationChoice, Decided, Separation, SkyChoice, Warned
from goafetch.report.run_summary import Product, RunSummary, Timing, read_summary, write_summary

FACTS = (
    Decided("offset the sky", "the level drifts by 8 %"),
    Separation(4, 3, "by pointing"),
    SkyChoice(False, ("S1.fits", "S2.fits"), "the target fills the field"),
    CalibrationChoice("flat", "S3_flat.fits", "the nearest"),
)


def test_a_story_is_read_as_it_was_written(tmp_path):
    story = RunSummary(
        "GS-2017A-Q-29",
        decisions=tuple(replace(fact, group="NGC5128") for fact in FACTS),
        products=(Product("playground/S20170505S0095_stack.fits", "stack", "NGC5128 Kshort"),),
        timings=(Timing("stack", 3.5, 9),),
        warnings=(Warned("no catalogue – offline", group="NGC5128"),),
    )
    write_summary(tmp_path, story)
    assert read_summary(tmp_path) == story


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"program": 1, "decisions": 3}'])
def test_a_damaged_story_is_refused(tmp_path, text):
    (tmp_path / "playground").mkdir()
    (tmp_path / "playground/run.json").write_text(text)
    with pytest.raises(WorkspaceError, match="not the story"):
        read_summary(tmp_path)


def test_a_folder_without_a_story_says_what_to_do(tmp_path):
    with pytest.raises(WorkspaceError) as caught:
        read_summary(tmp_path)
    assert "goafetch run" in caught.value.remedy
