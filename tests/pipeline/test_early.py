"""Work done ahead: master flats while files arrive, and the md5 of files while workers are idle."""

import hashlib
from pathlib import Path
from types import SimpleNamespace

from goafetch.console.terminal import Terminal
from goafetch.engine.pool import Pool
from goafetch.events import Made, StageBegun, StageEnded, StepBegun
from goafetch.pipeline import early
from goafetch.pipeline.stages import MADE, Outcome, hash_ahead, md5s
from goafetch.workspace import Verified, Workspace


def test_a_flat_made_early_takes_no_file_from_the_count_of_those_fetched(monkeypatch, tmp_path, capsys):
    terminal = Terminal()
    group = SimpleNamespace(name="flat Kshort 15 s", product="S1_flat.fits")

    def make_flat(_, work, notify):
        notify(StepBegun("makeFlat", 30))
        work.notify(Made("playdata/S2.fits"))  # arrives in the meantime
        notify(Made("S1_flat.fits"))
        return Outcome("flat Kshort 15 s", "flat", MADE)

    monkeypatch.setattr(early, "make_flat", make_flat)
    monkeypatch.setattr(early, "plan_flats", lambda _: [group])
    work = SimpleNamespace(workspace=Workspace(tmp_path), notify=terminal, early={})
    terminal(StageBegun("fetch", 2))
    with early.EarlyFlats(work, lambda _: []) as flats:
        flats.expect(SimpleNamespace(roles={"S1.fits": "lamp on"}))
        terminal(Made("playdata/S1.fits"))
        flats.arrived(Path("S1.fits"))
    terminal(StageEnded("fetch"))
    lines = capsys.readouterr().err.splitlines()
    assert [line.rsplit(",", 1)[0] for line in lines] == ["fetch, 2 made"]
    assert set(work.early) == {tmp_path / "playground/S1_flat.fits"}


def test_each_file_is_read_for_its_md5_once_by_idle_workers_or_by_those_in_need(tmp_path):
    files = [tmp_path / f"S{number}.fits" for number in range(6)]
    for path in files:
        path.write_text(path.name)
    known = {path.name: hashlib.md5(path.name.encode()).hexdigest() for path in files}
    verified = Verified(tmp_path / "verified.json")
    with Pool(1) as pool:
        work = SimpleNamespace(verified=verified, pool=pool.at(tmp_path / "lock"), hashes={})
        assert hash_ahead(files[2:], work)
        assert md5s(files[:2], work) == {path.name: known[path.name] for path in files[:2]}
        assert md5s(files, work) == known
        assert not work.hashes and not hash_ahead(files, work)
