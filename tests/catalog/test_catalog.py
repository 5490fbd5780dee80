"""The catalogue client over a real socket, against a small stand-in that serves VOTables."""

import os
import socket
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
from astropy.io.votable import from_table, writeto
from astropy.table import Table

from goafetch import catalog, network
from goafetch.catalog import POSITIONS, find_stars, why_not_reachable
from reducer.references import read_references, read_standards

FIELD = (201.32, -43.0)
GAIA = {
    "RA_ICRS": np.linspace(201.30, 201.34, 5), "DE_ICRS": np.full(5, -43.0), "e_RA_ICRS": np.full(5, 0.1),
    "e_DE_ICRS": np.full(5, 0.1), "pmRA": np.full(5, 10.0), "pmDE": np.zeros(5), "Gmag": np.full(5, 15.0),
}  # fmt: skip
TWOMASS = {
    "RAJ2000": np.linspace(201.30, 201.34, 4), "DEJ2000": np.full(4, -43.0), "Jmag": np.full(4, 12.9),
    "e_Jmag": np.full(4, 0.02), "Hmag": np.full(4, 12.3), "e_Hmag": np.full(4, 0.02),
    "Kmag": np.full(4, 12.1), "e_Kmag": np.full(4, 0.03),
}  # fmt: skip


def votable(folder, name, columns):
    document = from_table(Table(columns))
    document.resources[0].tables[0].name = name
    path = folder / f"{name.replace('/', '_')}.vot"
    writeto(document, str(path))
    return path.read_bytes()


@pytest.fixture
def service(tmp_path):
    """A server that answers with the stars of each catalogue that it has: (address, what it has, asked)."""
    asked = []
    has = {"I/355/gaiadr3": GAIA, "II/246/out": TWOMASS}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            lines = self.rfile.read(int(self.headers["Content-Length"])).decode().splitlines()
            name = dict(line.split("=", 1) for line in lines)["-source"]
            asked.append(name)
            columns = has.get(name, {"nothing": np.zeros(0)})
            content = votable(tmp_path, name, columns)
            self.send_response(200)
            self.send_header("Content-Type", "text/xml")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", has, asked
    server.shutdown()
    server.server_close()


def silent(*_, **__):
    pass


def test_gaia_stars_come_with_epoch_and_proper_motion(service, tmp_path):
    address, _, asked = service
    path = find_stars(POSITIONS, "auto", *FIELD, tmp_path, silent, address)
    stars = read_references(path, 2026.0)
    assert stars.name == "Gaia DR3"
    assert len(stars.ra) == 5
    moved = (stars.ra[0] - 201.30) * 3600 * np.cos(np.radians(43.0))
    assert moved == pytest.approx(0.1, rel=1e-3)
    assert asked == ["I/355/gaiadr3"]


def test_where_gaia_has_nothing_2mass_serves_with_its_errors(service, tmp_path):
    address, has, asked = service
    del has["I/355/gaiadr3"]
    stars = read_references(find_stars(POSITIONS, "auto", *FIELD, tmp_path, silent, address), 2017.0)
    assert stars.name == "2MASS"
    assert stars.error == pytest.approx(0.08)
    assert asked == ["I/355/gaiadr3", "II/246/out"]


def test_what_was_fetched_is_not_asked_for_again(service, tmp_path):
    address, _, asked = service
    first = find_stars(POSITIONS, "gaia", *FIELD, tmp_path, silent, address)
    assert find_stars(POSITIONS, "auto", *FIELD, tmp_path, silent, address) == first
    assert len(asked) == 1


def test_magnitudes_of_2mass_have_their_bands(service, tmp_path):
    address, _, _ = service
    path = catalog.fetch_stars(("2mass",), *FIELD, tmp_path, silent, address)
    star = read_standards(path)[0]
    assert star.source == "2MASS"
    assert star.magnitudes["Ks"] == pytest.approx((12.1, 0.03))
    assert star.magnitudes["J"] == pytest.approx((12.9, 0.02))


def test_without_a_network_auto_gives_up_and_says_so(tmp_path):
    said = []
    path = find_stars(
        POSITIONS,
        "auto",
        10.0,
        -10.0,
        tmp_path,
        lambda event: said.append(event.kind),
        "http://127.0.0.1:9",
    )
    assert path is None
    assert said == ["info", "warning"]


def test_a_name_server_that_does_not_answer_is_given_up_in_two_seconds(monkeypatch):
    def never(*_):
        time.sleep(6)
        raise OSError

    monkeypatch.setattr(socket, "create_connection", never)
    begun = time.monotonic()
    assert why_not_reachable("https://nowhere.invalid")
    assert time.monotonic() - begun < catalog.REACH + 1.0


def test_a_file_is_taken_as_it_is_and_none_means_none(tmp_path):
    assert find_stars(POSITIONS, "none", 0, 0, tmp_path, print) is None
    assert find_stars(POSITIONS, str(tmp_path / "x.csv"), 0, 0, tmp_path, print) == tmp_path / "x.csv"


class Listener:
    """Takes connections, notes the first line of each, and answers all alike."""

    def __init__(self, answer: bytes) -> None:
        self.heard: list[str] = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.place = f"127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self._serve, args=(answer,), daemon=True).start()

    def _serve(self, answer: bytes) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.socket.accept()
                with connection, suppress(OSError):
                    self.heard.append(connection.recv(9999).split(b"\r\n")[0].decode("latin-1"))
                    connection.sendall(answer)


def answer(status: str, page: bytes = b"", kind: str = "text/html") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(page)}\r\nConnection: close"
    return head.encode() + b"\r\n\r\n" + page


@pytest.fixture
def bare(monkeypatch):
    """An environment that names no proxies and no certificates."""
    for name in (*network.BUNDLES, *(n for n in os.environ if n.lower().endswith("_proxy"))):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("name", "scheme"),
    [("HTTPS_PROXY", "http://"), ("HTTPS_PROXY", ""), ("ALL_PROXY", "http://"), ("all_proxy", "")],
)
def test_the_proxy_of_the_environment_leads_to_the_catalogue(bare, tmp_path, name, scheme):
    """It was looked for in another way than the archive's: no Gaia where the archive was reached."""
    proxy = Listener(answer("503 none"))
    bare.setenv(name, f"{scheme}{proxy.place}")
    assert find_stars(POSITIONS, "gaia", *FIELD, tmp_path, silent) is None
    assert "CONNECT vizier.cds.unistra.fr:443 HTTP/1.1" in [
        line.replace("1.0", "1.1") for line in proxy.heard
    ]


def test_an_excepted_host_is_reached_without_the_proxy(bare):
    direct = Listener(answer("200 OK"))
    bare.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    assert "the proxy http://127.0.0.1:9 does not answer" in catalog.why_not_reachable(
        f"https://{direct.place}"
    )
    bare.setenv("NO_PROXY", "127.0.0.1")
    assert not why_not_reachable(f"https://{direct.place}")


@pytest.mark.parametrize(
    ("name", "value"), [("HTTPS_PROXY", "ftp://proxy:1"), ("REQUESTS_CA_BUNDLE", "/no/such.pem")]
)
def test_what_cannot_lead_to_a_catalogue_is_named(bare, tmp_path, name, value):
    said = []
    bare.setenv(name, value)
    assert find_stars(POSITIONS, "auto", *FIELD, tmp_path, lambda event: said.append(event.text)) is None
    assert said[0].startswith(f"{name} names {value}")


def test_a_networks_page_in_the_place_of_a_catalogue_is_named(bare, tmp_path):
    said = []
    portal = Listener(answer("200 OK", b"<html><title>Guest WiFi</title><body>sign in</body></html>"))
    found = find_stars(
        POSITIONS, "gaia", *FIELD, tmp_path, lambda event: said.append(event.text), f"http://{portal.place}"
    )
    assert found is None and "a web page came instead of Gaia DR3: 'Guest WiFi'" in said
