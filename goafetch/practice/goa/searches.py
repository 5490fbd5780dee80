"""Answers to what searches the archive: the JSON and XML lists, the calibration manager, the search page."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

from goafetch.practice.goa.asking import HTML, Answer, Archive, Ask, as_json, redirect, refusal, text
from goafetch.practice.goa.association import Target, associate, find, target_of, target_of_descriptors
from goafetch.practice.goa.dates import MalformedValue
from goafetch.practice.goa.holdings import FILE_KEYS, Holding, by_time, order, select
from goafetch.practice.goa.vocabulary import CALIBRATION_TYPES
from goafetch.practice.goa.words import Selection, describe

_QA_KEYS = ("data_label", "filename", "data_md5", "entrytime", "qa_state")
_NEW_KEYS = frozenset({"present", "canonical"})
_OPEN_ERROR = "<!-- Error: Selection cannot represent an open query for calibration association -->\n\n"
_NO_TYPE_ERROR = "<!-- Error: No calibration type specified-->\n\n"
_XML_KEYS = ("filename", "size", "md5", "lastmod")


def _found(archive: Archive, selection: Selection, columns: Sequence[str] = ()) -> list[Holding]:
    """Search, sort (by file name unless asked otherwise) and cut at the limit, without a sign."""
    matching = select(archive.holdings, selection, archive.clock())
    return order(matching, [*columns, "filename_asc"])[: archive.limits.of(selection)]


def _canonical(selection: Selection) -> Selection:
    return selection.adding(canonical=True)


def summary(archive: Archive, ask: Ask) -> Answer:
    """/jsonsummary: whole records; the last one of every open query is marked as truncated, true or not."""
    selection = _canonical(archive.selection(ask.words))
    rows = [
        _with_standards(holding, holding.shown_to(ask.user, archive.clock()))
        for holding in _found(archive, selection, ask.query.get("orderby", ()))
    ]
    if selection.is_open and rows:
        rows[-1]["results_truncated"] = True
    return as_json(_known_then(archive, rows))


def _known_then(archive: Archive, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows as software older than August 2025 sends them, where that is the trouble: two keys are missing."""
    if not archive.faults.strikes("older-software"):
        return rows
    return [{key: value for key, value in row.items() if key not in _NEW_KEYS} for row in rows]


def _with_standards(holding: Holding, row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "phot_standards": list(holding.standards)} if row["phot_standard"] else row


def file_list(archive: Archive, ask: Ask) -> Answer:
    """/jsonfilelist: the file keys only, old versions included unless `canonical` is asked for."""
    found = _found(archive, archive.selection(ask.words))
    return as_json(_known_then(archive, [{key: holding.row[key] for key in FILE_KEYS} for holding in found]))


def file_names(archive: Archive, ask: Ask) -> Answer:
    """/jsonfilenames."""
    return as_json([{"name": holding.name} for holding in _found(archive, archive.selection(ask.words))])


def qa_states(archive: Archive, ask: Ask) -> Answer:
    """/jsonqastate: canonical versions, in the order they were ingested, without a limit, on one line.

    Words for QA state and engineering have no effect.
    """
    asked = archive.selection(ask.words)
    heeded = {
        name: value for name, value in asked.criteria.items() if name not in {"qa_state", "engineering"}
    }
    selection = _canonical(Selection(heeded, asked.unknown))
    found = order(select(archive.holdings, selection, archive.clock()), ["entrytime_asc"])
    return as_json([{key: holding.row[key] for key in _QA_KEYS} for holding in found], indent=None)


def xml_file_list(archive: Archive, ask: Ask) -> Answer:
    """/xmlfilelist: the oldest form of the list."""
    lines = ['<?xml version="1.0" ?>', "<file_list>"]
    for holding in _found(archive, archive.selection(ask.words)):
        values = "".join(f"<{key}>{html.escape(str(holding.row[key]))}</{key}>" for key in _XML_KEYS)
        lines.append(f"<file>{values}</file>")
    return text("\n".join([*lines, "</file_list>"]), "text/xml")


def calibration_manager(archive: Archive, ask: Ask) -> Answer:
    """/jsoncalmgr: calibrations of each target, by type; GET names targets, POST describes one."""
    selection = archive.selection(ask.words)
    kind = str(selection.criteria.get("caltype", ""))
    kinds = (kind,) if kind else CALIBRATION_TYPES
    if ask.method == "POST":
        return _described_target(archive, ask, kinds) if kind else refusal(405, _NO_TYPE_ERROR, "text/plain")
    if selection.is_open:
        return refusal(406, _OPEN_ERROR, "text/plain")
    matching = by_time(select(archive.holdings, _canonical(selection), archive.clock()), descending=True)
    host = ask.host.partition(":")[0]
    entries = [
        _calibration_entry(archive, target, kinds, host, holding)
        for holding in matching
        if holding.row["qa_state"] != "Fail" and (target := target_of(holding))
    ]
    return as_json(entries, "text/plain")


def _described_target(archive: Archive, ask: Ask, kinds: Sequence[str]) -> Answer:
    try:
        descriptors = json.loads(ask.body)["descriptors"]
    except (ValueError, KeyError, TypeError) as error:
        raise MalformedValue(str(error)) from error
    target = target_of_descriptors(descriptors)
    return as_json([_calibration_entry(archive, target, kinds, ask.host, None)], "text/plain")


def _calibration_entry(
    archive: Archive, target: Target, kinds: Sequence[str], host: str, holding: Holding | None
) -> dict[str, Any]:
    return {
        "label": target.label,
        "filename": holding.name if holding else None,
        "md5": holding.row["data_md5"] if holding else None,
        "cal_info": [_calibrations(archive, target, kind, host) for kind in kinds],
    }


def _calibrations(archive: Archive, target: Target, kind: str, host: str) -> dict[str, Any]:
    if archive.faults.strikes("association-error", kind):
        return {"error": True, "type": kind, "cals": None}
    found = find(kind, target, archive.holdings)
    return {"error": False, "type": kind, "cals": [_calibration(each, host) for each in found]}


def _calibration(holding: Holding, host: str) -> Mapping[str, Any]:
    present = holding.row["present"]
    return {
        "label": holding.row["data_label"],
        "name": holding.name,
        "md5": holding.row["file_md5"],
        "url": f"https://{host}/file/{holding.row['filename']}" if present else None,
    }


def associated_page(archive: Archive, ask: Ask) -> Answer:
    """/associated_cals: the calibrations as an HTML page, for the exposures and for their calibrations."""
    words = [word for word in ask.words if word not in {"nolinks", "body_only"}]
    targets = _found(archive, archive.selection(words).adding(canonical=True))
    everything = associate(targets, archive.holdings)
    direct = {id(holding) for holding in associate(targets, archive.holdings, recursive=False)}
    primary = [holding for holding in everything if id(holding) in direct]
    secondary = [holding for holding in everything if id(holding) not in direct]
    tables = "".join(_table(title, rows) for title, rows in (("Primary", primary), ("Secondary", secondary)))
    page = tables if "body_only" in ask.words else f"<!DOCTYPE html>\n<html><body>\n{tables}</body></html>"
    return text(page, HTML)


def _table(title: str, holdings: Sequence[Holding]) -> str:
    rows = "".join(
        f'<tr><td><input type="checkbox" name="files" value="{html.escape(holding.stored_name)}"></td>'
        f"<td>{html.escape(holding.name)}</td><td>{html.escape(str(holding.row['data_label']))}</td></tr>\n"
        for holding in holdings
    )
    return f"<h2>{title} calibrations</h2>\n<table>\n{rows}</table>\n"


def search_page(archive: Archive, ask: Ask) -> Answer:
    """/searchform: a page for people; a URL that is not in the normal form is redirected to it."""
    selection = archive.selection(ask.words)
    normal = f"/searchform{describe(Selection(selection.criteria))}"
    if selection.criteria and ask.path.rstrip("/") != normal:
        return redirect(normal)
    link = f"/download/canonical{describe(selection)}/present"
    page = (
        f'<html><body><h1>Practice archive</h1><a href="{html.escape(link)}">Download all</a></body></html>'
    )
    return text(f"<!DOCTYPE html>\n{page}", HTML)
