"""Master flats made while files arrive are told with their group, and counted at their place in the plan."""

from pathlib import Path
from types import SimpleNamespace

from goafetch.console.terminal import Terminal
from goafetch.pipeline import early
from goafetch.pipeline.stages import MADE, Outcome
from goafetch.workspace import Workspace


def test_a_flat_made_early_takes_no_file_from_the_count_of_those_fetched(monkeypatch, tmp_path, capsys):
    terminal = Terminal()
    group = SimpleNamespace(name="flat Kshort 15 s", product="S1_flat.fits")

    def make_flat(_, work, notify):
        notify("step", name="makeFlat", total=30)
        work.notify("made", path="playdata/S2.fits")  # arrives in the meantime
        notify("made", path="S1_flat.fits")
        return Outcome("flat Kshort 15 s", "flat", MADE)

    monkeypatch.setattr(early, "make_flat", make_flat)
    monkeypatch.setattr(early, "plan_flats", lambda _: [group])
    work = SimpleNamespace(workspace=Workspace(tmp_path), notify=terminal, early={})
    terminal("stage", name="fetch", total=2)
    with early.EarlyFlats(work, lambda _: []) as flats:
        flats.expect(SimpleNamespace(roles={"S1.fits": "lamp on"}))
        terminal("made", path="playdata/S1.fits")
        flats.arrived(Path("S1.fits"))
    terminal("done", name="fetch")
    lines = capsys.readouterr().err.splitlines()
    assert [line.rsplit(",", 1)[0] for line in lines] == ["fetch, 2 made"]
    assert set(work.early) == {tmp_path / "playground/S1_flat.fits"}
