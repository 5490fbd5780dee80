"""What a paper has to cite is told by the run: its program, its exposures, its instrument and catalogues."""

from __future__ import annotations

import dataclasses
import re

from small_workspace import story

from goafetch.report.citations import cite, in_ranges


def test_the_page_and_two_files_say_what_to_acknowledge_and_cite(page):
    shown = page.read_text(encoding="utf-8")
    told = (page.parent / "acknowledgement.txt").read_text(encoding="utf-8")
    bibtex = (page.parent / "references.bib").read_text(encoding="utf-8")
    for text in (shown, told):
        assert "Gemini Observatory Archive" in text and "GS-2017A-Q-29: S2017" in text
        assert "Rigaut et al. 2014, MNRAS 437, 2361, doi:10.1093/mnras/stt2054" in text
    keys = re.findall(r"^@(?:article|inproceedings)\{(\w+),$", bibtex, re.M)
    assert {"Rigaut2014", "Neichel2014", "McGregor2004", "Hirst2017", "Barbary2016"} <= set(keys)
    assert len(keys) == len(set(keys)) and bibtex.count("{") == bibtex.count("}")


def test_catalogues_and_the_archive_are_cited_where_they_were_used(workspace, monkeypatch):
    def told(summary, **cards):
        header = {"INSTRUME": "GSAOI", "GEMPRGID": "GS-2017A-Q-29", **cards}
        monkeypatch.setattr("goafetch.report.citations._stack_headers", lambda *_: [header])
        citation = cite(workspace, summary)
        return {paper["key"] for paper in citation.papers}, citation.acknowledgement

    keys, thanks = told(story(), ASTRCAT="Gaia DR3", PHOTCAT="2MASS")
    assert {"Gaia2016", "Gaia2023", "Skrutskie2006", "Hirst2017"} <= keys and "acquired through" in thanks
    keys, thanks = told(dataclasses.replace(story(), archive=""), ASTRCAT="stars.csv")
    assert not keys & {"Gaia2016", "Gaia2023", "Skrutskie2006", "Hirst2017"} and "acquired" not in thanks


def test_files_that_follow_each_other_are_shortened():
    assert in_ranges(["S20170505S0095", "S20170505S0096", "S20170505S0097", "S20170505S0099"]) == [
        "S20170505S0095-0097",
        "S20170505S0099",
    ]
    assert in_ranges(["S20170505S0099", "S20170506S0100"]) == ["S20170505S0099", "S20170506S0100"]
