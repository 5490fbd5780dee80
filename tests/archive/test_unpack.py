"""Unpacking: tars and loose files, whole or cut, honest or hostile; nothing outside the folder, ever."""

from __future__ import annotations

import bz2
import io
import tarfile
from collections.abc import Iterable
from hashlib import md5
from pathlib import Path

import pytest
from quick_archive import Threads, wrong_files

from goafetch.archive.unpack import Expected, StoredFile, decompress, unpack
from goafetch.errors import Damaged, Unsafe, UsageError
from goafetch.practice.server import PracticeArchive

FITS = b"SIMPLE  =                    T".ljust(2880)
OTHER = b"SIMPLE  =                    T / other".ljust(2880)


def make_tar(path: Path, members: Iterable[tuple[str, bytes]], extra: Iterable[tarfile.TarInfo] = ()) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), 1495000000.25
            tar.addfile(info, io.BytesIO(content))
        for info in extra:
            tar.addfile(info)
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.fixture
def archive_tar(archive: PracticeArchive, tmp_path: Path) -> Path:
    """What a browser would have got: science and calibrations of the tutorial are two such tars."""
    import requests

    path = tmp_path / "gemini_data.GS-2017A-Q-29.tar"
    path.write_bytes(requests.get(f"{archive.url}/download/GS-2017A-Q-29/canonical", timeout=30).content)
    return path


def test_an_archive_tar(archive_tar: Path, pool: Threads, tmp_path: Path, truth: dict[str, str]) -> None:
    folder = tmp_path / "w" / "playdata"
    report = unpack([archive_tar], folder, pool=pool)
    assert len(report.done) == 16 and report.exit_code == 0 and not report.failed
    assert wrong_files(folder, truth) == []
    assert sorted(p.name for p in folder.iterdir()) == sorted(name for name, _ in report.done)


def test_repeating_changes_nothing(archive_tar: Path, pool: Threads, tmp_path: Path) -> None:
    folder = tmp_path / "w" / "playdata"
    (tmp_path / "w" / "playground").mkdir(parents=True)
    unpack([archive_tar], folder, pool=pool)
    before = {p: p.stat().st_mtime_ns for p in folder.iterdir()}
    report = unpack([archive_tar], folder, pool=pool)
    assert len(report.present) == 16 and not report.done
    assert {p: p.stat().st_mtime_ns for p in folder.iterdir()} == before


def test_the_tutorials_own_data_package(pool: Threads, tmp_path: Path) -> None:
    packed = bz2.compress(FITS)
    tar = make_tar(
        tmp_path / "gsaoiimg_tutorial_datapkg-v1.tar",
        [
            ("gsaoiimg_tutorial/playdata/S20170505S0095.fits.bz2", packed),
            ("gsaoiimg_tutorial/playdata/bpm_20121104_gsaoi_gsaoi_11_full_4amp.fits", FITS),
            ("gsaoiimg_tutorial/playdata/._S20170505S0095.fits.bz2", b"\0\5\x16\7"),
            ("gsaoiimg_tutorial/README", b"hello"),
        ],
        [special("gsaoiimg_tutorial/playground", tarfile.DIRTYPE)],
    )
    report = unpack([tar], tmp_path / "playdata", pool=pool)
    assert sorted(p.name for p in (tmp_path / "playdata").iterdir()) == [
        "S20170505S0095.fits",
        "bpm_20121104_gsaoi_gsaoi_11_full_4amp.fits",
    ]
    assert report.exit_code == 0


def test_loose_files(pool: Threads, tmp_path: Path) -> None:
    packed, plain = tmp_path / "S20170505S0095.fits.bz2", tmp_path / "S20170505S0096.fits"
    packed.write_bytes(bz2.compress(FITS))
    plain.write_bytes(OTHER)
    report = unpack([packed, plain], tmp_path / "playdata", pool=pool)
    assert len(report.done) == 2 and packed.exists() and plain.exists()
    assert (tmp_path / "playdata" / plain.name).read_bytes() == OTHER


@pytest.mark.parametrize(
    ("member", "says"),
    [
        (special("/etc/cron.d/S1.fits", tarfile.REGTYPE), "absolute"),
        (special("C:\\S1.fits", tarfile.REGTYPE), "absolute"),
        (special("../S1.fits", tarfile.REGTYPE), "leaves the folder"),
        (special("a/../../S1.fits", tarfile.REGTYPE), "leaves the folder"),
        (special("a\\..\\S1.fits", tarfile.REGTYPE), "leaves the folder"),
        (special("S1.fits", tarfile.SYMTYPE, "/etc/passwd"), "link"),
        (special("S1.fits", tarfile.LNKTYPE, "../../x"), "link"),
        (special("S1.fits", tarfile.CHRTYPE), "device"),
        (special("S1.fits", tarfile.BLKTYPE), "device"),
        (special("S1.fits", tarfile.FIFOTYPE), "device"),
        (special("S1\n.fits", tarfile.REGTYPE), "control characters"),
    ],
    ids=lambda value: value if isinstance(value, str) else repr(value.name),
)
def test_a_hostile_tar_is_refused_whole(
    member: tarfile.TarInfo, says: str, pool: Threads, tmp_path: Path
) -> None:
    tar = make_tar(tmp_path / "hostile.tar", [("S20170505S0095.fits.bz2", bz2.compress(FITS))], [member])
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(Unsafe) as caught:
        unpack([tar], tmp_path / "playdata", pool=pool)
    assert says in str(caught.value) and "hostile.tar" in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_that_claims_too_much_is_refused(pool: Threads, tmp_path: Path) -> None:
    info = tarfile.TarInfo("S20170505S0095.fits")
    info.size = 10**13
    tar = tmp_path / "claims.tar"
    tar.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(Unsafe, match="claims"):
        unpack([tar], tmp_path / "playdata", pool=pool)


def test_a_bomb_stops_at_its_listed_size(tmp_path: Path) -> None:
    bomb = tmp_path / "S1.fits.bz2"
    bomb.write_bytes(bz2.compress(FITS + bytes(50_000_000)))
    target = tmp_path / "out"
    with pytest.raises(Damaged, match="more than 2880 bytes"):
        decompress(str(bomb), str(target), Expected(data_size=2880))
    assert not target.exists()


def test_two_different_files_of_one_name_are_refused(pool: Threads, tmp_path: Path) -> None:
    name = "S20170505S0095.fits"
    tar = make_tar(tmp_path / "two.tar", [(f"a/{name}.bz2", bz2.compress(FITS)), (f"b/{name}", OTHER)])
    with pytest.raises(Unsafe, match="two different files"):
        unpack([tar], tmp_path / "playdata", pool=pool)
    assert not (tmp_path / "playdata").exists()


def test_the_same_file_twice_is_one_file(pool: Threads, tmp_path: Path) -> None:
    name = "S20170505S0095.fits"
    tar = make_tar(tmp_path / "two.tar", [(f"a/{name}.bz2", bz2.compress(FITS)), (f"b/{name}", FITS)])
    assert len(unpack([tar], tmp_path / "playdata", pool=pool).done) == 1


def test_a_tar_cut_short_by_the_archive_is_known_by_its_missing_lists(pool: Threads, tmp_path: Path) -> None:
    tar = make_tar(tmp_path / "gemini_data.GS-1.tar", [("S20170505S0095.fits.bz2", bz2.compress(FITS))])
    report = unpack([tar], tmp_path / "playdata", pool=pool)
    assert len(report.done) == 1 and report.exit_code == 1
    assert "md5sums.txt" in report.failed[0][1]


def test_a_tar_cut_short_on_the_way(
    archive_tar: Path, pool: Threads, tmp_path: Path, truth: dict[str, str]
) -> None:
    content = archive_tar.read_bytes()
    for cut in (len(content) // 2, 512 * 20 + 100, 512 * 30):
        archive_tar.write_bytes(content[:cut])
        folder = tmp_path / str(cut) / "playdata"
        report = unpack([archive_tar], folder, pool=pool)
        assert report.exit_code == 1 and len(report.done) < 16
        assert wrong_files(folder, truth) == []


def test_any_tar_that_does_not_end_as_one_was_cut(pool: Threads, tmp_path: Path) -> None:
    tar = make_tar(tmp_path / "package.tar", [(f"a/S{n}.fits", FITS) for n in range(3)])
    content = tar.read_bytes()
    for cut in range(2048, 3 * 4096, 1024):
        tar.write_bytes(content[:cut])
        report = unpack([tar], tmp_path / str(cut) / "playdata", pool=pool)
        assert report.exit_code == 1, cut


def test_a_member_with_other_bytes_than_its_list_says_is_named(pool: Threads, tmp_path: Path) -> None:
    good, bad = bz2.compress(FITS), bz2.compress(OTHER)
    sums = "".join(f"{md5(good).hexdigest()}  S20170505S00{n}.fits.bz2\n" for n in (95, 96, 97))
    denied = "because they are proprietary data that you do not have access to:\nS2.fits.bz2\n"
    tar = make_tar(
        tmp_path / "gemini_data.tar",
        [
            ("S20170505S0095.fits.bz2", good),
            ("S20170505S0096.fits.bz2", bad),
            ("md5sums.txt", sums.encode()),
            (
                "README.txt",
                denied.encode(),
            ),
        ],
    )
    report = unpack([tar], tmp_path / "playdata", pool=pool)
    assert [name for name, _ in report.done] == ["S20170505S0095.fits"]
    assert sorted(name for name, _ in report.failed) == ["S20170505S0096.fits", "S20170505S0097.fits"]
    assert [name for name, _ in report.withheld] == ["S2.fits"]


@pytest.mark.parametrize(
    "content",
    [b"", b"BZh9 broken", bz2.compress(FITS)[:-8], bz2.compress(b"not a FITS file"), b"<html>Login</html>"],
    ids=["empty", "broken", "cut", "not FITS", "a page"],
)
def test_damaged_files_are_named_and_leave_nothing(content: bytes, pool: Threads, tmp_path: Path) -> None:
    path = tmp_path / "S20170505S0095.fits.bz2"
    path.write_bytes(content)
    report = unpack([path], tmp_path / "playdata", pool=pool)
    assert [name for name, _ in report.failed] == ["S20170505S0095.fits"]
    assert list((tmp_path / "playdata").iterdir()) == []


def test_what_is_there_with_other_content_is_left_alone(pool: Threads, tmp_path: Path) -> None:
    path, final = tmp_path / "S20170505S0095.fits.bz2", tmp_path / "playdata" / "S20170505S0095.fits"
    path.write_bytes(bz2.compress(FITS))
    final.parent.mkdir()
    final.write_bytes(OTHER)
    report = unpack([path], final.parent, pool=pool)
    assert "another content" in report.failed[0][1] and final.read_bytes() == OTHER


def test_a_file_whose_content_is_not_the_archive_s_is_damaged_though_the_stored_one_is_right(
    tmp_path: Path,
) -> None:
    """The archive packs anew: of what came compressed another way only the content's md5 can tell."""
    stored, target = tmp_path / "S1.fits.bz2", tmp_path / "S1.fits"
    stored.write_bytes(bz2.compress(FITS))
    with pytest.raises(Damaged, match=md5(OTHER).hexdigest()):
        decompress(str(stored), str(target), Expected(data_md5=md5(OTHER).hexdigest(), data_size=len(FITS)))
    assert not target.exists()
    decompress(str(stored), str(target), Expected(data_md5=md5(FITS).hexdigest(), data_size=len(FITS)))
    assert target.read_bytes() == FITS


def test_several_streams_in_one_file_are_one_file(tmp_path: Path) -> None:
    stored = tmp_path / "S1.fits.bz2"
    stored.write_bytes(bz2.compress(FITS) + bz2.compress(OTHER))
    result = decompress(str(stored), str(tmp_path / "out"), Expected())
    assert result.data_md5 == md5(FITS + OTHER).hexdigest()


def test_what_is_no_tar_is_refused(pool: Threads, tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"No files to download. Either you asked ...")
    with pytest.raises(Unsafe, match="neither a plain tar"):
        unpack([tmp_path / "x.tar"], tmp_path / "playdata", pool=pool)
    with pytest.raises(UsageError, match="is not there"):
        unpack([tmp_path / "missing.tar"], tmp_path / "playdata", pool=pool)


@pytest.mark.parametrize(
    ("member", "offset", "whole"),
    [("a.fits.bz2", 0, True), ("b.fits.bz2", 0, False), ("a.fits.bz2", 512, False)],
)
def test_a_file_of_its_own_is_told_from_a_part_of_a_tar(member: str, offset: int, whole: bool) -> None:
    assert StoredFile(Path("a.fits.bz2"), offset, 9, "a.fits", member).whole == whole
