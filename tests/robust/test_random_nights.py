"""What random nights are drawn to be, and that their judge can say 'bad'."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from goafetch.practice.exposure.scene import sparse_field


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")


def test_nights_have_every_scenery_epoch_port_filter_and_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    import random_night
    from random_night import DOUBTFUL, EPOCHS, FILTERS, HARMLESS, OTHERS, SCENERIES, draw

    monkeypatch.setattr(random_night, "make_field", lambda *place, stars, **_: sparse_field(*place, 5))
    nights = [draw(seed) for seed in range(300)]
    assert {night.scenery for night in nights} == set(SCENERIES)
    assert {night.program.night.epoch for night in nights} == set(EPOCHS)
    assert {night.program.night.port for night in nights} == {1, 5}
    assert {e.filter1 for night in nights for e in night.program.exposures if e.field} == set(FILTERS)
    assert {trouble for night in nights for trouble in night.troubles} == {*HARMLESS, *DOUBTFUL, *OTHERS}
    for night in nights:
        names = {e.name for e in night.program.exposures if e.kind == "science" and e.field != "elsewhere"}
        assert night.must | night.may == names and not night.must & night.may


def test_exposures_that_are_left_out_without_a_word_are_a_fault(tmp_path: Path) -> None:
    from judge_night import judge
    from random_night import draw

    night = next(n for n in map(draw, range(50)) if not n.troubles)
    first, *others = sorted(night.must)
    (tmp_path / "playground").mkdir()
    (tmp_path / "program.json").write_text("{}")
    (tmp_path / "exposures.json").write_text("[]")
    said = [{"name": f"{name}_skyCorrected.fits", "reason": "its stars are double"} for name in others]
    (tmp_path / "playground/run.json").write_text(json.dumps({"exclusions": said}))
    result = judge(night, tmp_path, tmp_path, 1)
    assert [fault.split(":")[0] for fault in result.faults] == ["lost", "silent"]
    assert result.faults[1].endswith(f"{[first]}") and result.lost == len(night.must)


@pytest.mark.parametrize("light", ["good", "look"])
def test_a_page_that_calls_an_unsure_sky_good_is_found(tmp_path: Path, light: str) -> None:
    from judge_night import is_called_good

    (tmp_path / "report").mkdir()
    lines = ('<a href="stack_N_image.png">', '<li class="good">\n<h3>Noise <span>', f'<li class="{light}">')
    (tmp_path / "report/index.html").write_text("\n".join(lines) + "\n<h3>Sky <span>")
    assert is_called_good(tmp_path / "playground/N_image.fits") is (light == "good")
    assert is_called_good(tmp_path / "playground/M_image.fits") is False
