"""The catalogue client over a real socket, against a small stand-in that serves VOTables."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
from astropy.io.votable import from_table, writeto
from astropy.table import Table

from goafetch.catalog import find_positions
from reducer.align.references import read_references


def votable(tmp_path, empty=False):
    n = 0 if empty else 5
    table = Table({
        "RA_ICRS": np.linspace(201.30, 201.34, n), "DE_ICRS": np.full(n, -43.0),
        "e_RA_ICRS": np.full(n, 0.1), "e_DE_ICRS": np.full(n, 0.1),
        "pmRA": np.full(n, 10.0), "pmDE": np.zeros(n), "Gmag": np.full(n, 15.0),
    })  # fmt: skip
    document = from_table(table)
    document.resources[0].tables[0].name = "I/355/gaiadr3"
    path = tmp_path / "answer.vot"
    writeto(document, str(path))
    return path.read_bytes()


@pytest.fixture
def service(tmp_path):
    """A server that answers every query with the stars of a VOTable, or with an error; (address, asked)."""
    asked = []
    content = votable(tmp_path)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.send_header("Content-Type", "text/xml")
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}", asked
    server.shutdown()


def test_gaia_stars_come_with_epoch_and_proper_motion(service, tmp_path, monkeypatch):
    from astroquery.vizier import VizierClass

    address, asked = service
    monkeypatch.setattr(
        VizierClass, "_server_to_url", lambda self, *a, **k: f"http://{address}/viz-bin/votable"
    )
    path = find_positions("auto", 201.32, -43.0, tmp_path, lambda *a, **k: None, address)
    stars = read_references(path, 2026.0)
    assert stars.name == "Gaia DR3"
    assert len(stars.ra) == 5
    moved = (stars.ra[0] - 201.30) * 3600 * np.cos(np.radians(43.0))
    assert moved == pytest.approx(0.1, rel=1e-3)
    assert "gaiadr3" in asked[0]


def test_without_a_network_auto_gives_up_and_says_so(tmp_path):
    said = []
    path = find_positions(
        "auto", 10.0, -10.0, tmp_path, lambda event, **facts: said.append(event), "127.0.0.1:9"
    )
    assert path is None
    assert said == ["info", "info", "warning"]


def test_a_file_is_taken_as_it_is_and_none_means_none(tmp_path):
    assert find_positions("none", 0, 0, tmp_path, print) is None
    assert find_positions(str(tmp_path / "x.csv"), 0, 0, tmp_path, print) == tmp_path / "x.csv"
