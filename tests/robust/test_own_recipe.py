"""`goafetch run --recipe`: a user's own recipe takes the stages that make what its steps do."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from astropy.io import fits
from caged import Here

from goafetch.config import Settings
from goafetch.errors import UsageError
from goafetch.pipeline.find_recipe import files_of, recipes_of_stages
from goafetch.pipeline.run import make_request, run_job
from goafetch.pipeline.stages import FLATS, FRAMES, STACKS, USUAL
from goafetch.pipeline.summary import RunReport
from reducer.errors import BadParameter
from reducer.recipes import RECIPES, alignAndStack, leaveOutSkies, reduce_nostack, skyCorrect

MINE = '''
from typing import Annotated

from reducer.recipes import alignAndStack
from reducer.step import step


@step()
def keepFirst(frames, context, *, number: Annotated[int, "how many frames to keep"] = 2):
    """Go on with the first frames alone."""
    return frames[:number]


mine = (keepFirst, *alignAndStack)
'''


def test_a_recipe_takes_the_stages_that_make_what_its_steps_do() -> None:
    assert recipes_of_stages(()) == USUAL
    deep = recipes_of_stages(["ultradeep"])
    assert deep[FLATS] == USUAL[FLATS]
    assert deep[FRAMES].own == (*reduce_nostack, RECIPES["ultradeep"][5], skyCorrect)
    assert deep[STACKS].own == (leaveOutSkies, *alignAndStack)
    assert recipes_of_stages(["reduce_nostack"])[STACKS] == USUAL[STACKS]
    assert recipes_of_stages(["makeProcessedFlat"])[FLATS].own == RECIPES["makeProcessedFlat"]


def test_a_recipe_that_no_stage_needs_or_two_would_have_is_refused() -> None:
    with pytest.raises(UsageError, match="checkWCS makes nothing that a run keeps"):
        recipes_of_stages(["checkWCS"])
    with pytest.raises(UsageError, match="makeProcessedBPM makes nothing"):
        recipes_of_stages(["makeProcessedBPM"])
    with pytest.raises(UsageError, match="reduce and alignAndStack both make the stacks"):
        recipes_of_stages(["reduce", "alignAndStack"])


def test_what_a_recipe_imports_from_its_folder_is_in_the_key(tmp_path: Path) -> None:
    """A change of it was no reason to make a product anew."""
    mine, beside, deep = tmp_path / "mine.py", tmp_path / "beside.py", tmp_path / "more" / "deep.py"
    deep.parent.mkdir()
    mine.write_text("import os\nfrom beside import steps\n")
    beside.write_text("import mine\nfrom more import deep\n")
    deep.write_text("from pathlib import Path\n")
    assert files_of(mine)[0] == mine
    assert set(files_of(mine)) == {mine, beside, deep}


def test_a_run_with_a_recipe_of_ones_own_makes_that_stage_anew_alone(
    tiny_night: Path, tiny_whole: Path, tmp_path: Path
) -> None:
    workspace, mine = tmp_path / "ws", tmp_path / "mine.py"
    shutil.copytree(tiny_whole, workspace, symlinks=True)
    mine.write_text(MINE)

    def again(*parameters: str) -> RunReport:
        asked = make_request(tiny_night, into=workspace, parameters=parameters, recipe=f"{mine}:mine")
        return run_job(asked, Settings(), pool=Here())

    report = again()
    (stack,) = report.stacks
    assert (report.exit_code, report.redone) == (0, 1)
    with fits.open(stack) as file:
        assert file[0].header["NCOMBINE"] == 2
        steps = {row["primitive"]: row["args"] for row in file["HISTORY"].data}
        assert steps["keepFirst"] == '{"number": 2}'
        made_from = {row["filename"]: row["provenance_added_by"] for row in file["PROVENANCE"].data}
        assert made_from["mine.py"] == "recipe"
    assert again().redone == 0
    assert again("keepFirst:number=3").redone == 1
    mine.write_text(MINE + "# another text\n")
    assert again("keepFirst:number=3").redone == 1
    assert report.summary.recipes == {"stacks": f"{mine.resolve()}:mine"}
    with pytest.raises(BadParameter, match="a whole number"):
        again("keepFirst:number=all")
