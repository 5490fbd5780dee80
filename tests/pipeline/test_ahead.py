"""Work done ahead: master flats while files arrive, and the md5 of files while workers are idle."""

import hashlib
from pathlib import Path
from types import SimpleNamespace

from caged import Here

from goafetch.console.terminal import Terminal
from goafetch.engine.pool import Pool
from goafetch.events import Made, StageBegun, StageEnded, StepBegun, Warned
from goafetch.pipeline import raw_files
from goafetch.pipeline.cache import Cache
from goafetch.pipeline.stages import MADE, Outcome, Tools
from goafetch.workspace import Workspace


def test_a_flat_made_early_takes_no_file_from_the_count_of_those_fetched(monkeypatch, tmp_path, capsys):
    terminal = Terminal()
    group = SimpleNamespace(name="flat Kshort 15 s", product="S1_flat.fits", dark=None)

    def make_master(_, tools, notify, masters, stored):
        notify(StepBegun("makeFlat", 30))
        terminal(Made("playdata/S2.fits"))  # arrives in the meantime
        notify(Made("S1_flat.fits"))
        notify(Warned("it is faint"))
        return Outcome(
            "flat Kshort 15 s", "flat", MADE, key=tools.cache.enter("makeProcessedFlat", {}, {}, {})
        )

    monkeypatch.setattr(raw_files, "make_master", make_master)
    monkeypatch.setattr(raw_files, "plan_masters", lambda *_: [group])
    workspace, pool = Workspace(tmp_path).make(), Here()
    tools = Tools(workspace, pool, Cache(workspace, pool), {})
    terminal(StageBegun("fetch", 2))
    with raw_files.FlatPrefetch(tools, (), lambda _: [], terminal) as flats:
        flats.expect(SimpleNamespace(roles={"S1.fits": "lamp on"}))
        terminal(Made("playdata/S1.fits"))
        flats.arrived(Path("S1.fits"))
    terminal(StageEnded("fetch"))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "warning: flat Kshort 15 s: it is faint"
    assert [line.partition(" in ")[0] for line in lines[1:]] == ["fetched 2 files"]
    (made,) = flats.made.values()
    assert set(flats.made) == {tmp_path / "playground/S1_flat.fits"}
    assert tools.cache.told(made.key) == (Warned("it is faint"),)
    assert made.told == (Warned("it is faint", group=made.name),)


def test_each_file_is_read_for_its_md5_once_by_idle_workers_or_by_those_in_need(tmp_path):
    files = [tmp_path / f"S{number}.fits" for number in range(6)]
    for path in files:
        path.write_text(path.name)
    known = {path.name: hashlib.md5(path.name.encode()).hexdigest() for path in files}
    with Pool(1) as pool:
        cache = Cache(Workspace(tmp_path).make(), pool.in_workspace(tmp_path / "lock"))
        assert cache.read_ahead(files[2:])
        assert cache.md5s(files[:2]) == {path.name: known[path.name] for path in files[:2]}
        assert cache.md5s(files) == known
        assert not cache._under_way and not cache.read_ahead(files)
