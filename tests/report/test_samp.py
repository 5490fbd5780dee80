"""`--samp`: a program at a hub gets each file in the message that it takes, and what it says is told."""

import time
from urllib.parse import unquote, urlparse

import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from mocpy import MOC
from pyvo import samp
from shell import Shell
from small_workspace import write_workspace

from goafetch.errors import NothingFound
from goafetch.samp import send


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub of this test alone."""
    monkeypatch.setenv("SAMP_HUB", f"std-lockurl:{(tmp_path / 'samp').as_uri()}")
    samp.conf.use_internet = False
    server = samp.SAMPHubServer(web_profile=False, lockfile=str(tmp_path / "samp"), addr="127.0.0.1")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def viewer(hub):
    """A program that takes images and coverages, and fails at the latter."""
    client = samp.SAMPIntegratedClient("viewer", addr="127.0.0.1")
    client.connect()
    client.taken = []

    def take(_key, _sender, number, message, parameters, _extra):
        client.taken.append((message, unquote(urlparse(parameters["url"]).path)))
        time.sleep(0.2)  # as programs do: pyvo's hub loses an answer that comes before it waits for one
        if message == "image.load.fits":
            return client.reply(number, {"samp.status": "samp.ok", "samp.result": {}})
        return client.reply(number, {"samp.status": "samp.error", "samp.error": {"samp.errortxt": "no MOCs"}})

    for message in ("image.load.fits", "coverage.load.moc.fits"):
        client.bind_receive_call(message, take)
    yield client
    client.disconnect()


def test_export_sends_stacks_and_footprints_and_tells_what_was_refused(viewer, tmp_path):
    folder = write_workspace(tmp_path / "a night")
    typed = Shell()(f"export '{folder}' --samp")
    assert sorted(viewer.taken) == [
        ("coverage.load.moc.fits", str(folder / "export/S20170505S0095_image_moc.fits")),
        ("image.load.fits", str(folder / "playground/S20170505S0095_image.fits")),
    ]
    assert typed.code == 1
    assert "S20170505S0095_image.fits sent to viewer" in typed.err
    assert "viewer did not take S20170505S0095_image_moc.fits: no MOCs" in typed.err
    check_footprint(folder / "export/S20170505S0095_image_moc.fits")


def check_footprint(path):
    """Of the small stack: 640 pixels of 0.02 arcsec around 201.358 -43.033."""
    moc = MOC.load(path, "fits")
    middle = SkyCoord(201.358, -43.033, unit="deg")
    places = [middle.directional_offset_by(45 * units.deg, away * units.arcsec) for away in (2, 7, 11, 20)]
    assert [bool(moc.contains_skycoords(place)) for place in places] == [True, True, False, False]
    area = moc.sky_fraction * 41252.96 * 3600**2
    assert 12.8**2 < area < 15**2


def test_without_a_hub_or_without_a_reader_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMP_HUB", f"std-lockurl:{(tmp_path / 'none').as_uri()}")
    with pytest.raises(NothingFound, match="no SAMP hub"):
        send([tmp_path / "x_image.fits"])


def test_a_hub_where_nobody_takes_images(hub, tmp_path):
    with pytest.raises(NothingFound, match="no program at the SAMP hub"):
        send([tmp_path / "x_image.fits"])
