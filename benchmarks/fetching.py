"""How fast files move and unpack: goafetch against curl, over loopback, on files as large as real ones.

Run it as `python benchmarks/fetching.py [FILES]`; it makes FILES (default 8) stored exposures of 4 x 2048 x
2048 noise, serves them with the practice archive in another process, and prints MB/s, medians of five.
"""

from __future__ import annotations

import bz2
import hashlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from goafetch.archive.client import ArchiveClient
from goafetch.archive.download import Options, fetch_files
from goafetch.archive.query import Criteria
from goafetch.archive.records import Record
from goafetch.archive.search import search_archive
from goafetch.archive.unpack import Expected, decompress
from goafetch.engine.pool import Pool

SERVE = "import sys; from pathlib import Path; from goafetch.practice.server import serve\n"
SERVE += "a = serve(Path(sys.argv[1])); print(a.url, flush=True); a.wait()"


def make_archive(folder: Path, count: int) -> None:
    """Write ``count`` stored files of a real size, and their holdings after the tiny archive's rows."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
    from tiny_archive import build_tiny_archive

    rows = [r for r in build_tiny_archive(folder) if r["program_id"] == "GS-2017A-Q-29"][:count]
    noise = np.random.default_rng(1).normal(600, 25, (4, 2048, 2048)).round().astype(">f4")
    data = b"SIMPLE  =                    T".ljust(2880) + noise.tobytes()
    stored = bz2.compress(data)
    sums = {"file_md5": hashlib.md5(stored).hexdigest(), "data_md5": hashlib.md5(data).hexdigest()}
    sizes = {"file_size": len(stored), "size": len(stored), "data_size": len(data), "md5": sums["file_md5"]}
    for row in rows:
        (folder / row["filename"]).write_bytes(stored)
        row.update(sums, **sizes)
    (folder / "holdings.json").write_text(json.dumps(rows))


def rate(work: Callable[[Path], object], size: int) -> float:
    """MB/s of one go into an empty folder."""
    folder = Path(tempfile.mkdtemp())
    start = time.perf_counter()
    work(folder)
    seconds = time.perf_counter() - start
    shutil.rmtree(folder)
    return size / 1e6 / seconds


def curl(urls: list[str], connections: int) -> Callable[[Path], object]:
    """curl for the same files."""
    parallel = ["-Z", "--parallel-max", str(connections)] if connections > 1 else []
    return lambda folder: subprocess.run(
        ["curl", "-s", *parallel, *(w for u in urls for w in ("-o", str(folder / u.rsplit("/", 1)[1]), u))],
        check=True,
        stderr=subprocess.DEVNULL,
    )


def measure(client: ArchiveClient, records: list[Record], pool: Pool, source: Path) -> dict[str, float]:
    """Medians of five interleaved rounds, so that other load falls on all alike."""
    size = sum(record.file_size for record in records)
    urls = [f"{client.base_url}/file/{record.remote}" for record in records]

    def move(connections: int) -> Callable[[Path], object]:
        def work(folder: Path) -> None:
            with ThreadPoolExecutor(connections) as threads:
                list(threads.map(lambda r: client.download(r.remote, folder / r.name, r.file_size), records))

        return work

    def unpack_alone(folder: Path) -> None:
        tasks = [(str(source / r.filename), str(folder / r.name), Expected(r.file_md5)) for r in records]
        for future in [pool.submit(decompress, *task) for task in tasks]:
            future.result()

    ways: dict[str, Callable[[Path], object]] = {
        "curl, 1 connection": curl(urls, 1),
        "client, 1 connection": move(1),
        "curl, 4 connections": curl(urls, 4),
        "client, 4 connections": move(4),
        "fetch --no-unpack, md5 verified": lambda d: fetch_files(
            client, records, d / "p", Options(unpack=False, pool=pool)
        ),
        "fetch, unpacked and verified": lambda d: fetch_files(client, records, d / "p", Options(pool=pool)),
        "unpacking alone, from disk": unpack_alone,
    }
    rounds = [{name: rate(work, size) for name, work in ways.items()} for _ in range(5)]
    return {name: statistics.median(r[name] for r in rounds) for name in ways}


def main() -> None:
    """Make, serve, measure, print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 8
    with tempfile.TemporaryDirectory() as folder:
        make_archive(Path(folder), count)
        with subprocess.Popen(
            [sys.executable, "-c", SERVE, folder], stdout=subprocess.PIPE, text=True
        ) as server:
            assert server.stdout is not None
            client = ArchiveClient(server.stdout.readline().strip())
            records = search_archive(client, Criteria(program="GS-2017A-Q-29")).records
            with Pool(2) as pool:
                for _ in range(2):
                    pool.submit(len, "").result()
                for name, found in measure(client, records, pool, Path(folder)).items():
                    print(f"{name:34s} {found:7.1f} MB/s")
            server.terminate()


if __name__ == "__main__":
    main()
