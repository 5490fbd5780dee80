"""The simulated programs as files: names, headers and their troubles, sameness, truth that fits."""

from __future__ import annotations

import bz2
import io
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from goafetch.practice.exposure.detector import make_array
from goafetch.practice.exposure.epochs import EPOCHS
from goafetch.practice.exposure.headers import array_cards, primary_cards
from goafetch.practice.exposure.night import Conditions, Exposure, Night, draw_conditions, draw_course
from goafetch.practice.exposure.region import true_region
from goafetch.practice.harder import harder
from goafetch.practice.program import tutorial
from goafetch.practice.simulate import build_program, to_fits, weather

SMALL = Night(seed=3, size=256, compress=False, stars=30000, objects=4, skies=2, flats=2, noiseless=True)


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("night")
    records = build_program("tutorial", folder / "raw", truth=folder / "truth", night=SMALL)
    return folder / "raw", folder / "truth", records


def test_the_tutorial_is_51_files_with_their_names() -> None:
    program = tutorial(Night(size=2048))
    kinds = [e.kind for e in program.exposures]
    assert len(kinds) == 51
    counts = {kind: kinds.count(kind) for kind in set(kinds)}
    assert counts == {"science": 9, "sky": 7, "lamp-on": 15, "lamp-off": 15, "standard": 4, "mask": 1}
    by_kind = {k: sorted(e.name for e in program.exposures if e.kind == k) for k in counts}
    assert by_kind["science"] == [f"S20170505S{n:04d}" for n in range(95, 104)]
    assert by_kind["sky"] == [f"S20170505S{n:04d}" for n in range(104, 111)]
    assert by_kind["lamp-on"] == [f"S20170505S{n:04d}" for n in range(30, 45)]
    assert by_kind["lamp-off"] == [f"S20170505S{n:04d}" for n in range(60, 75)]
    assert by_kind["standard"] == [f"S20170504S{n:04d}" for n in range(114, 118)]
    wrong = [e.name[-4:] for e in program.exposures if "wrong wcs" in e.trouble]
    assert wrong == ["0105", "0108", "0109"]


def test_flats_standards_and_mask_belong_to_shared_programs() -> None:
    for exposure in tutorial(Night()).exposures:
        own = exposure.kind in ("science", "sky")
        assert exposure.program == "GS-2017A-Q-29" if own else exposure.program.startswith("GS-CAL")


def test_skies_of_an_observation_of_their_own_see_the_sky_of_their_science() -> None:
    program = tutorial(Night(sky_order="interleaved", objects=6, skies=3, only=frozenset({"science", "sky"})))
    named = [replace(e, observation="own-33") if e.kind == "sky" else e for e in program.exposures]
    found = weather(replace(program, exposures=tuple(named)))
    times = np.array([e.begin.timestamp() for e in named])
    rates = np.array([found[e.name].sky_rate for e in named])
    off = rates / np.polyval(np.polyfit(times - times[0], rates, 2), times - times[0]) - 1.0
    assert np.abs(off).max() < 0.01


def test_skies_can_be_interleaved() -> None:
    exposures = tutorial(Night(sky_order="interleaved", only=frozenset({"science", "sky"}))).exposures
    times = [e.begin for e in exposures]
    assert times == sorted(times)
    gaps = [
        min(abs((e.begin - s.begin).total_seconds()) for s in exposures if s.kind == "sky")
        for e in exposures
        if e.kind == "science"
    ]
    assert max(gaps) < 130.0


def test_headers_have_the_observatory_s_troubles(night: tuple[Path, Path, Any]) -> None:
    raw, _, _ = night
    with fits.open(raw / "S20170505S0030.fits") as hdus:
        primary, arrays = hdus[0].header, [h.header for h in hdus[1:]]
        assert hdus[0].data is None
        assert [h.data.dtype for h in hdus[1:]] == [np.dtype(">f4")] * 4
    assert (primary["OBSTYPE"], primary["OBJECT"], primary["OBSCLASS"]) == ("OBJECT", "Domeflat", "dayCal")
    assert (primary["FRAME"], primary["READMODE"], primary["LNRS"]) == ("AZEL_TOPO", "FOWLER", 2)
    assert (primary["FILTER1"], primary["FILTER2"], primary["WAVELENG"]) == ("Kshort_G1105", "Clear", 21500.0)
    assert "GAIN" not in primary and "MJD-OBS" in primary and primary["MJD-OBS"] < 50000
    names = ["H2RG-032-074", "H2RG-032-064", "H2RG-032-071", "H2RG-032-061"]
    assert [h["ARRAYID"] for h in arrays] == names
    for header in arrays:
        assert "EXTNAME" not in header and "GAIN" not in header and "RDNOISE" not in header
        assert header["RADECSYS"] == "FK5" and "RADESYS" not in header
        assert header["CCDSEC"] == "[897:1152,897:1152]"
        assert header["DATASEC"] == "[1:256,1:256]"
    assert arrays[0]["DETSEC"] == "[2945:3200,897:1152]"
    assert arrays[2]["DETSEC"] == "[897:1152,2945:3200]"


def test_only_guided_exposures_carry_guide_stars(night: tuple[Path, Path, Any]) -> None:
    raw, _, _ = night
    assert "GWFS1CFG" in fits.getheader(raw / "S20170505S0095.fits")
    assert "GWFS1CFG" not in fits.getheader(raw / "S20170505S0099.fits")
    assert fits.getheader(raw / "S20170505S0099.fits")["RAOFFSET"] > 250.0


def test_array_four_s_wcs_is_right_to_the_pointing_error(night: tuple[Path, Path, Any]) -> None:
    raw, truth, _ = night
    catalogue = np.load(truth / "catalogue_NGC5128.npz")
    stars = np.load(truth / "positions" / "S20170505S0096.npy")
    stars = stars[
        (stars["array"] == 4) & (np.abs(stars["x"] - 1024) < 128) & (np.abs(stars["y"] - 1024) < 128)
    ]
    header = fits.getheader(raw / "S20170505S0096.fits", 4)
    header.rename_keyword("RADECSYS", "RADESYSA")  # the word of today for the raw files' own
    found = WCS(header).wcs_pix2world(stars["x"] - 896.0, stars["y"] - 896.0, 1)
    ra, dec = catalogue["ra"][stars["id"]], catalogue["dec"][stars["id"]]
    east = np.median((found[0] - ra) * np.cos(np.radians(dec))) * 3600.0
    assert math.hypot(east, np.median(found[1] - dec) * 3600.0) < 0.6


def test_records_have_the_archive_s_keys_and_true_sums(
    night: tuple[Path, Path, list[dict[str, Any]]],
) -> None:
    raw, _, records = night
    assert json.loads((raw / "holdings.json").read_text()) == records
    assert len(records) == 15
    first = records[0]
    assert list(first)[:4] == ["name", "filename", "path", "compressed"]
    assert list(first)[-2:] == ["phot_standard", "_extra"]
    assert all(record["size"] == (raw / record["filename"]).stat().st_size for record in records)
    mask = records[-1]
    assert mask["observation_type"] == "BPM" and mask["_extra"]["associated"] is False


def test_the_mask_is_full_frame_and_integer(night: tuple[Path, Path, Any]) -> None:
    raw, truth, _ = night
    listed = np.load(truth / "detector.npz")["listed"]
    with fits.open(raw / "bpm_20121104_gsaoi_gsaoi_11_full_4amp.fits") as hdus:
        assert hdus[0].header["OBSTYPE"] == "BPM"
        for index, hdu in enumerate(hdus[1:]):
            assert hdu.data.shape == (2048, 2048) and hdu.data.dtype.kind == "i"
            assert ((hdu.data != 0) == listed[index]).all()


def test_noise_about_the_noiseless_truth_is_photon_and_read_noise(night: tuple[Path, Path, Any]) -> None:
    raw, truth, _ = night
    model = np.load(truth / "noiseless" / "S20170505S0096.npy")
    hits = np.load(truth / "cosmic_rays" / "S20170505S0096.npy")
    coefficients = [(0.9947237, 3.040362e-07, 4.2870263e-12), (0.9958842, 2.1448022e-07, 3.8885419e-12)]
    for index, gain, noise, (a0, a1, a2) in (
        (0, 2.434, 26.53, coefficients[0]),
        (3, 2.644, 32.26, coefficients[1]),
    ):
        raw_electrons = fits.getdata(raw / "S20170505S0096.fits", index + 1).astype(float) * gain
        found = raw_electrons * (a0 + raw_electrons * (a1 + raw_electrons * a2))
        good = model[index] < 50_000.0
        struck = hits[hits["array"] == index + 1]
        good[struck["y"] - 897, struck["x"] - 897] = False
        pull = (found - model[index]) / np.sqrt(model[index] + noise**2)
        assert pull[good].std() == pytest.approx(1.0, abs=0.015)
        assert abs((found - model[index])[good].mean()) < 8.0


def test_stars_light_in_the_pixels_is_the_truth_s(night: tuple[Path, Path, Any]) -> None:
    """An isolated star's light above its surroundings, by a fit of its own profile to the noiseless frame."""
    _, truth, _ = night
    model = np.load(truth / "noiseless" / "S20170505S0096.npy")
    response = np.load(truth / "detector.npz")["response"][:, 896:1152, 896:1152]
    program = json.loads((truth / "program.json").read_text())
    stars = np.load(truth / "positions" / "S20170505S0096.npy")
    inside = (np.abs(stars["x"] - 1025) < 90) & (np.abs(stars["y"] - 1025) < 90)
    star = stars[inside][np.argmax(stars["electrons"][inside])]
    index = star["array"] - 1
    flat = response[index] * program["sensitivity"]["Kshort"][index]
    image = np.where(flat > 0.5, model[index] / np.maximum(flat, 0.5), np.nan)
    rows, columns = np.mgrid[:256, :256]
    radius = np.hypot(columns + 897 - star["x"], rows + 897 - star["y"])
    around = np.nanmedian(image[(radius > 30) & (radius < 38)])
    core = star["electrons"] * star["core_fraction"]
    within = np.nansum((image - around)[radius < 15])
    assert core < within < star["electrons"]
    peak_row, peak_column = np.unravel_index(np.nanargmax(np.where(radius < 4, image, -1)), image.shape)
    assert math.hypot(peak_column + 897 - star["x"], peak_row + 897 - star["y"]) < 0.9


def test_the_same_seed_gives_the_same_bytes_whatever_the_workers(tmp_path: Path) -> None:
    night = Night(seed=9, size=64, objects=1, skies=1, stars=3000, only=frozenset({"science", "sky"}))
    one = build_program("tutorial", tmp_path / "one", workers=1, night=night)
    two = build_program("tutorial", tmp_path / "two", workers=3, night=night)
    assert one == two
    assert bz2.decompress((tmp_path / "one" / one[0]["filename"]).read_bytes())[:6] == b"SIMPLE"


def test_another_seed_is_another_night() -> None:
    exposure = tutorial(Night()).exposures[-2]
    drawn = [
        draw_conditions(exposure, n, draw_course(n, "o", exposure.begin))
        for n in (Night(seed=1), Night(seed=2))
    ]
    assert drawn[0].sky_rate != drawn[1].sky_rate and drawn[0].pointing_error != drawn[1].pointing_error


def test_no_truth_is_written_unless_asked(tmp_path: Path) -> None:
    night = Night(seed=10, size=64, objects=1, stars=100, only=frozenset({"science"}))
    build_program("tutorial", tmp_path / "raw", night=night)
    assert {p.suffix for p in tmp_path.rglob("*") if p.is_file()} == {".bz2", ".hdr", ".json"}


def test_the_harder_program_is_hard() -> None:
    exposures = harder(Night()).exposures
    science = [e for e in exposures if e.kind in ("science", "sky")]
    assert {e.target for e in science} == {"NGC1851", "HE0515-4414"}
    assert {e.filter_name for e in science} == {"J", "H", "Kshort"}
    assert {e.coadds for e in science} >= {1, 2, 3, 4}
    assert {e.samples for e in science} == {2, 8, 16}
    flats = {(e.kind, e.filter_name) for e in exposures if e.kind.startswith("lamp")}
    assert ("lamp-on", "H") in flats and ("lamp-off", "H") not in flats
    troubles = {t for e in exposures for t in e.trouble}
    assert troubles == {"wrong wcs", "unknown filter", "lost filter", "missing extension"}
    assert any(e.release > "2090" and e.coordinates_withheld for e in science)
    assert len({e.name for e in exposures}) == len(exposures)


def test_the_harder_program_s_files_have_their_troubles() -> None:
    program = harder(Night(size=64))
    course = draw_course(program.night, "any", program.exposures[0].begin)
    arrays = [make_array(i, np.random.default_rng(i)) for i in range(4)]
    headers = {}
    for exposure in program.exposures:
        if exposure.trouble or exposure.release > "2090":
            content = to_fits(
                exposure,
                draw_conditions(exposure, program.night, course),
                arrays,
                [np.zeros((64, 64), "f4")] * 4,
            )
            with fits.open(io.BytesIO(content)) as hdus:
                headers[exposure.name[-4:]] = [hdu.header for hdu in hdus]
    assert [h["ARRAYID"][-3:] for h in headers["0083"][1:]] == ["074", "064", "061"]
    known, lost = headers["0072"][0], headers["0064"][0]
    assert known["FILTER2"] == lost["FILTER2"] == "Unknown"
    assert known["FILT2POS"] == 24 != lost["FILT2POS"]
    assert headers["0090"][0]["PROP_MD"] is True and headers["0090"][0]["RELEASE"] == "2099-12-31"
    assert abs(headers["0052"][1]["CRVAL1"] - headers["0052"][0]["RA"]) > 0.003


@pytest.mark.parametrize(("year", "sign", "row"), [("2013", -1, 512), ("2014", -1, 513), ("2018", 1, 513)])
def test_another_epoch_has_its_own_names_dates_and_habits(year: str, sign: int, row: int) -> None:
    night = Night(epoch=year, position_angle=30.0, size=1024)
    exposures = tutorial(night).exposures
    assert {e.name[1:5] for e in exposures if e.kind != "mask"} == {year}
    assert {e.begin.year for e in exposures if e.kind != "mask"} == {int(year)}
    standard = next(e for e in exposures if e.kind == "standard")
    assert standard.program == f"GS-CAL{year}0504"
    assert true_region(1024, 0, standard.epoch.row_error).y0 == row
    # It falls on the middle of array 2, as the observatory's offsets of real standards have it.
    assert standard.offset == pytest.approx((26.6, 27.2), abs=0.1)
    sky = next(e for e in exposures if e.kind == "sky")
    cards = {key: value for key, value, _ in primary_cards(sky, weather_of(sky, night))}
    turn = math.radians(30.0)
    p, q = cards["POFFSET"], cards["QOFFSET"]
    after = (p * math.cos(turn) + q * math.sin(turn), q * math.cos(turn) - p * math.sin(turn))
    before = (-p * math.cos(turn) + q * math.sin(turn), -q * math.cos(turn) - p * math.sin(turn))
    assert after == pytest.approx(sky.offset, abs=1e-4)
    told = (cards["RAOFFSET"], cards["DECOFFSE"])
    assert told == pytest.approx(after if sign > 0 else before, abs=1e-4)


def weather_of(exposure: Exposure, night: Night) -> Conditions:
    return draw_conditions(exposure, night, draw_course(night, "any", exposure.begin))


@pytest.mark.parametrize("year", EPOCHS)
@pytest.mark.parametrize("angle", [0.0, 180.0])
def test_target_plus_offset_falls_on_the_epoch_s_origin(year: str, angle: float) -> None:
    night = Night(epoch=year, position_angle=angle)
    exposure = next(e for e in tutorial(night).exposures if e.kind == "science")
    weather = weather_of(exposure, night)
    x, y = weather.mapping.to_static(*(np.array([float(v)]) for v in exposure.place))
    assert (x[0], y[0]) == pytest.approx(exposure.epoch.origin, abs=0.5)


def test_array_headers_disagree_as_the_epoch_s_do() -> None:
    """The reference pixels of 2013 are turned, those of 2018's windows reduced by DETSEC's origin."""
    arrays = [make_array(i, np.random.default_rng(i)) for i in range(4)]
    for year, detsec in (("2014", False), ("2018", True)):
        exposure = next(e for e in tutorial(Night(epoch=year)).exposures if e.kind == "standard")
        cards = [{key: value for key, value, _ in array_cards(exposure, array)} for array in arrays]
        assert (cards[0]["CRPIX1"] < -2000) == detsec
        assert cards[1]["CRPIX1"] > 0
        assert cards[0]["GAIN"] == pytest.approx(2.434, abs=1e-6)
    lamp = next(e for e in tutorial(Night()).exposures if e.kind == "lamp-on")
    assert {value for key, value, _ in array_cards(lamp, arrays[0]) if key == "CTYPE1"} == {"RA---TAN"}
