"""The words for what steps tell: a template for each fact and each reason, filled where it is shown.

A step tells a fact by name, with its numbers: ``notify("aligned", file=..., stars=...)``. Its words stand
here alone; ``docs/style.md`` says how they are written.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import Any

#: What is said of each fact, and after a bar why it is so. ``{rms:.1f mas}`` is a number with its unit, one
#: for each array where there are several; ``{stars:# star}`` a count; ``{reason}`` has its words in REASONS.
DECISIONS: dict[str, str] = {
    "exposures_found": "{files:# file} in the archive",
    "calibrations_found": "{files:# file} of kind {kind} | {why}",
    "darks_grouped": "{frames:# dark} of the same {same}",
    "flats_grouped": "{lit:# lamp-on frame} and {off:# lamp-off frame} of the same {same}",
    "flats_of_nights": "{lit:# lamp-on frame} and {off:# lamp-off frame} of the same {same}; lamp-off frames "
    "are {days} away",
    "flats_without_off": "{lit:# lamp-on frame} of the same {same}, no lamp-off frames | {why}",
    "calibration_not_chosen": "not {file} | {why}",
    "no_mask": "no bad-pixel mask | {why}",
    "step_skipped": "{step} skipped | skip_primitive=True",
    "wcs_rebuilt": "WCS of {file} rebuilt | {reason}",
    "wcs_wrong": "WCS of {file} is inconsistent | {reason}",
    "wcs_agrees": "WCS of {file} agrees with target + offsets",
    "separated_by_pointing": "separated by pointing | ref_obj and ref_sky name no exposure here",
    "pointing_is_sky": "pointing of {file} is empty sky | {objects:# object} on {area:.1%} of its pixels, "
    "{target_objects} on {target_area:.1%} on target",
    "pointing_is_target": "pointing of {file} is on a target too | {objects:# object} on {area:.1%} of its "
    "pixels, {target_objects} on {target_area:.1%} on target",
    "sky_scaled": "{frames:# sky exposure} of {seconds:g s} scaled by {factor:.3g} | target exposures are "
    "{wanted:g s}",
    "sky_level": "sky level {least:.0f} to {most:.0f e-}, uncertainty {sigma:.1f e-} | interpolated in time "
    "between {skies:# sky exposure}",
    "sky_level_weighed": "sky level {least:.0f} to {most:.0f e-}, uncertainty {sigma:.1f e-} | "
    "{by_skies:.0f} +- {skies_sigma:.0f e-} from {skies:# sky exposure} interpolated in time; "
    "{by_medians:.0f e-} from the target exposures' medians, up to {light:.0f e-} of it from objects",
    "ramp_removed": "{file}: reset ramp removed | first rows low by {depths:.0f e-}",
    "rows_levelled": "{file}: row offsets removed, {offsets:.1f e-} rms | both halves of each row show the "
    "same",
    "channels_covered": "{file}: channel offsets kept: {channels:# channel} | too few source-free pixels",
    "objects_masked": "objects of the first stack masked | {area:.1%} of its pixels",
    "shifted": '{file}: shifted by ({east:+.2f}", {north:+.2f}") from the header; aligned on {reason}',
    "on_stars": 'stacked on the stars | coordinates drift by {by_positions:.2f}", but not the telescope, '
    "as the stars show; no tracking rates",
    "on_target": 'stacked on the moving target | moves by {by_rates:.2f}" from its rates, '
    '{by_positions:.2f}" from its coordinates; not detected in single exposures',
    "on_target_seen": 'stacked on the moving target | moves by {by_rates:.2f}" from its rates, '
    '{by_positions:.2f}" from its coordinates; detected in {seen} of {exposures:# exposure}, up to '
    '{distance:.2f}" off that path',
    "tied": "absolute astrometry from {catalog} | {stars:# star}, rms {rms:.1f mas} per axis",
    "tied_turned": "field rotated by {angle:+.2f deg} onto {catalog}",
    "zeropoint": "zeropoint {zeropoint:.3f} +- {zeropoint_error:.3f} mag | {star} in {source}; errors "
    "{parts:.3f} mag",
    "no_zeropoint": "no zeropoint from a standard star | {reason}",
    "program_group": "{object} {filter} {seconds:g s} | {exposures:# exposure} in the archive",
    "to_fetch": "{files:# file} to fetch, {size:.0f MB} | {present} already here; {minutes:.1f min} at "
    "{rate:g MB/s}",
    "disk_needed": "{needed:.1f GB} of disk needed, {free:.1f GB} free | raw files {raw:.1f GB}, products "
    "about {products:.1f GB}",
    "time_needed": "about {minutes:.1f min} of reduction | {exposures:# exposure}, {workers:# worker}; "
    "{seconds:g s} an exposure of whole arrays on one core, as the tutorial takes",
    "grid": 'stack of {width} x {height} pixels of {scale:g}", position angle {angle:g deg} | covers all '
    "exposures",
}  # fmt: skip

WARNINGS: dict[str, str] = {
    "disk_short": "{needed:.1f GB} of disk needed, {free:.1f GB} free: make room, or choose another folder "
    "with --into DIR",
    "catalogs_not_fetched": "star catalogues not fetched, {why}: give files with --catalog and "
    "--phot-catalog",
    "array_missing": "{file}: no array {arrays}, reduced without",
    "stopped_kept": "{file}: {reason}; kept, as half of the exposures or more say so",
    "lamp_on_only": "no lamp-off frames in {filter}: the flat includes the dome's thermal emission",
    "lamp_on_usual": "no lamp-off frames, as is usual in {filter}: the flat includes the dome's thermal "
    "emission",
    "flat_changed": "flat changed against {previous}: level {levels:+.2%}; pixel-to-pixel {scatters:.2%} rms",
    "flat_of_other_filter": "{file} is a flat of {filter}, these exposures are of {usual}: used as asked",
    "flat_lost": "flat without data in {area:.0%} or more of array {arrays} (saturated, dead or unlit): "
    "exposures have no data there either",
    "lamp_array_saturated": "{file}: array {array} not used for the flat, saturated at {level:.0f e-}",
    "lamp_array_dead": "{file}: array {array} not used for the flat, dead at {level:.0f e-}",
    "lamp_array_odd": "{file}: array {array} not used for the flat, level {level:.0f e-} where {usual:.0f "
    "e-} is expected",
    "no_dark_asked": "no dark subtracted (darkCorrect:do_cal=skip)",
    "no_flat_asked": "no flat applied (flatCorrect:do_flat=False)",
    "array_blind": "array {array} of {files}: dead or inconsistent with a sky of {level:.0f e-}; no data",
    "array_partly_blind": "{area:.0%} of array {array} of {files}: dead or inconsistent with a sky of "
    "{level:.0f e-}; no data there",
    "not_finite": "{file}: {pixels:# pixel} of array {array} not finite; no data there",
    "sky_too_near": '{file}: no exposure of the field is {distance:g}" away; nearer ones serve as sky, and '
    "light of extended objects is lost",
    "sky_odd": "{file}: not used as sky, level {level:.0f e-} where the others have {usual:.0f e-}",
    "sky_covered": "no clean sky in {areas:.1%}: objects there in all {skies:# sky exposure}; no data there",
    "ramp_kept": "{file}: first rows low by {depths:.0f e-}, perhaps a reset ramp; kept, as it may be real "
    "light",
    "ramp_hidden": "{file}: no reset ramp seen in array {arrays}, unlike the others; check its first rows "
    "where objects cover them",
    "rows_covered": "{file}: row offsets kept where objects cover the rows: {rows:# row}",
    "oriented_otherwise": "{file}: position angle {angle:.1f deg}, or mirrored, unlike most exposures; its "
    "PSF and distortion are turned too",
    "rotated": "{file}: rotated by {angle:+.2f deg} from the header, as its stars show",
    "model_simplified": "{file}: {reason}; aligned with the model '{model}' instead",
    "by_headers": "no usable star shared: exposures aligned on the telescope pointing only",
    "on_stars_as_asked": 'stacked on the stars (method=sources): the target is smeared by {by_rates:.2f}" '
    'from its rates, {by_positions:.2f}" from its coordinates',
    "catalog_elsewhere": "no star of {catalog} in this field, the nearest is {angle:.2g deg} away: absolute "
    "astrometry from the telescope pointing only",
    "catalog_in_hours": "no star of {catalog} in this field, the nearest is {angle:.2g deg} away; near it "
    "if its right ascension is in hours: give the column the unit hourangle",
    "catalog_unmatched": "{catalog}: field not recognised, absolute astrometry from the telescope pointing "
    "only",
    "catalog_too_few": "{catalog}: {stars:# star} matched, {fewest} needed: absolute astrometry from the "
    "telescope pointing only",
    "tied_poorly": "absolute astrometry from {stars:# star} of {catalog}: rms {rms:.1f mas} per axis, far "
    "above its errors of {expected:.1f mas}",
    "tied_by_one": "absolute astrometry from one star of {catalog}, which may be the wrong one",
    "tied_by_shift": "absolute astrometry from {stars:# star} of {catalog}: shift only",
    "clouds": "{file}: transparency only {ratio:.3f} +- {ratio_error:.3f} of the first exposure",
    "transparency_unmeasured": "transparency not measured in {frames} of {exposures:# exposure}, which "
    "share too little light: taken to vary by {change:.0%}, as is usual",
    "standard_unused": "{file}: not used for the zeropoint, {reason}",
    "zeropoint_odd": "zeropoint at airmass 0 of {at_zero:.2f mag} is far from the nominal {nominal:.2f "
    "mag}: check the weather and the star's identification",
    "snowballs_kept": "{file}: {events:# bright extended source} without a stellar halo kept, perhaps heavy "
    "cosmic rays: fewer than {fewest} other exposures cover them",
    "outlier": "{file}: out of line in {values:.3g}; medians {medians:.3g}",
}  # fmt: skip

NOTES: dict[str, str] = {
    "archive_query": "archive query {query}",
    "calibration_not_fetched": "not fetched {file} | {why}",
    "flat_stable": "flat against {previous}: level {levels:+.2%}; pixel-to-pixel {scatters:.2%} rms",
    "detected": "{file}: sources {sources}",
    "single_exposure": "{file}: single exposure, position from the telescope pointing",
    "departure_confirmed": "{file}: {reason}, confirmed by {stars:# star}",
    "aligned": "{file}: {stars:# star} matched, residuals {rms:.2f mas} per axis, model '{model}'",
    "aligned_exactly": "{file}: {stars:# star} matched, too few for residuals, model '{model}'",
    "no_catalog": 'no catalogue: absolute astrometry from the telescope pointing only (about 0.3")',
    "no_star_to_tie": "no star detected: absolute astrometry from the telescope pointing only",
    "header_rotation": "rotation from the headers, uncertainty {angle:.2f deg}",
    "transparency": "{file}: transparency {ratio:.3f} +- {ratio_error:.3f} of the first exposure",
    "transparency_unknown": "transparency between standard and target unknown: not in the zeropoint's error",
    "no_zeropoint_moving": "no zeropoint from field stars: they are trailed in a stack on a moving target",
    "few_field_stars": "{stars:# isolated, unsaturated star} of {source} in the field, {fewest} needed",
    "aperture_correction": "aperture correction from {stars:# isolated star}, order {order}, common "
    "uncertainty {growth_error:.3f mag}",
    "residual_sky": "{file}: residual sky {levels:+.1f e-}",
    "snowballs_masked": "{file}: {events:# heavy cosmic ray} masked, radius up to {radius:.0f pixels}",
}  # fmt: skip

#: Decisions that take more room than they are worth on a terminal, but where all is asked for: of a run's
#: groups, and any.
OF_A_GROUP = {
    *("darks_grouped", "flats_grouped", "flats_of_nights", "flats_without_off", "calibration_not_chosen"),
    *("no_mask", "step_skipped", "shifted", "grid"),
}
DETAILS = {"calibrations_found"}

#: All of them: the level at which a fact is told, and its two texts.
FACTS: dict[str, tuple[str, ...]] = {
    name: (level, *text.split(" | "))
    for level, known in (("decision", DECISIONS), ("warning", WARNINGS), ("info", NOTES))
    for name, text in known.items()
}

#: Why a frame is left out, or a fact is as it is.
REASONS: dict[str, str] = {
    "asked": "as ref_obj and ref_sky say",
    "within": 'all exposures within {distance:.0f}"',
    "one_pointing": "one pointing on target",
    "guided": "the guided pointings are on target",
    "nearest": "the pointings nearest to the target are on target",
    "objects_counted": "objects counted in each pointing",
    "named_sky": "others are empty sky by name",
    "all_on_target": "every pointing is on a target",
    "asked_scale": "scale_sky=True as asked",
    "asked_offset": "offset_sky as asked",
    "no_skies": "no sky exposures; {free:.0%} of pixels source-free, background {level:.0f e-}, up to "
    "{in_objects:.0f e-} of it from objects",
    "blank_field": "sparse field; {free:.0%} of pixels source-free, background {level:.0f e-}, up to "
    "{in_objects:.0f e-} of it from objects",
    "filled_field": "the target fills the field; {free:.0%} of pixels source-free, background {level:.0f "
    "e-}, up to {in_objects:.0f e-} of it from objects",
    "wcs_unreadable": "header WCS unreadable",
    "wcs_new": "new WCS asked for",
    "wcs_offset": 'header disagreed with target + offsets by {distance:.1f}"',
    "wcs_layout": 'arrays up to {distance:.0f}" from their places in the focal plane',
    "wcs_scale": 'array {array} with a pixel scale of {scale}"',
    "wcs_rotation": "rotated by {angle:.1f deg} from the other exposures",
    "unfinished": "not finished: INTEGRIT is {card}",
    "stopped": "stopped after {seconds:.1f} of {wanted:g s} ({card})",
    "settings": "{settings} where most have {usual}",
    "copy": "copy of {other} ({label}), which is used",
    "same_name": "its products would have the names of those of {other}; rename it",
    "saturated": "saturated in array {arrays}, {area:.0%} of pixels",
    "no_light": "no light: {level:.0f e-}",
    "lamp_is_off": "level {level:.0f e-} is that of lamp-off frames",
    "lamp_is_on": "level {level:.0f e-} is that of lamp-on frames",
    "arrays_missing": "array {arrays} missing",
    "pixels_not_finite": "pixels not finite",
    "off_level": "level {level:.0f e-}, {difference:.0%} from the others",
    "doubled": "stars doubled: {pairs:# pair} {distance:.1f pixels} apart in one direction",
    "trailed": "stars trailed or doubled: ellipticity {ellipticity:.2f}, {ratio:.1f} times the median FWHM",
    "wide": "{ratio:.2f} times the median FWHM (reject_fwhm={limit:g})",
    "on_moving_target": "follows a moving target, most others the stars (RATRACK, DECTRACK)",
    "on_the_stars": "follows the stars, most others a moving target (RATRACK, DECTRACK)",
    "votes": "{stars:# star}",
    "one_star": "one bright star",
    "shared_stars": "the stars it shares",
    "no_shared_stars": "none of the stars of {exposures:# other exposure} detected",
    "unmatched": "no star matched with the other exposures",
    "other_field": "another field: its stars are not those of {exposures:# other exposure}",
    "other_field_of_two": "another field: its stars are not those of {exposures:# other exposure}; as many "
    "show it, and which is the target is ambiguous",
    "unlike": "another field than {files}",
    "few_stars": "{stars:# star} shared with the other exposures, too few",
    "departs_in_rotation": "rotated by {angle:.2f deg} from the header",
    "departs_in_shear": "scale or shear {shear:.1e} off the static distortion model",
    "departs": "up to {distance:.0f mas} off the static distortion model",
}  # fmt: skip


def say_what(fact: str, fields: Mapping[str, Any]) -> str:
    """What is said of a fact."""
    return _WRITER.vformat(FACTS[fact][1], (), fields)


def say_why(fact: str, fields: Mapping[str, Any]) -> str:
    """Why a fact is so; '' where that is in its words or not known."""
    return _WRITER.vformat("".join(FACTS[fact][2:]), (), fields)


def say_reason(why: Mapping[str, Any]) -> str:
    """The ``reason`` of some fields in words, or several; what is in words already, as an error is, stays."""
    names = [why["reason"]] if isinstance(why["reason"], str) else why["reason"]
    return "; ".join(_WRITER.vformat(REASONS[n], (), why) if n in REASONS else n for n in names)


def some(names: Sequence[str], shown: int = 5) -> str:
    """Names in a sentence: of many the first ones, and how many follow."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return f"{', '.join(names[:shown])}{more}"


class _Writer(string.Formatter):
    """Fills templates: a format may end in a unit, and holds for each of several values."""

    def get_value(self, key: int | str, args: Any, kwargs: Mapping[str, Any]) -> Any:
        value = kwargs.get(str(key), "?")  # another version may have told a fact without it
        return say_reason(kwargs) if key == "reason" else value

    def format_field(self, value: Any, format_spec: str) -> str:
        """``:# star`` counts ('1 star', '3 stars'); ``:.1f mas`` is a number with its unit."""
        number, _, unit = format_spec.partition(" ")
        if isinstance(value, str | None):
            return value or "unknown"
        if isinstance(value, Mapping):  # of arrays, or of whatever has a name
            written = {key: self.format_field(each, format_spec) for key, each in value.items()}
            return ", ".join(
                f"{each} (array {key})" if str(key).isdigit() else f"{key} {each}"
                for key, each in written.items()
            )
        if isinstance(value, list | tuple):
            return some([self.format_field(each, format_spec) for each in value])
        if number == "#":
            return f"{value} {unit}" if value == 1 else f"{value} {unit}s"
        text = format(value, number).replace("%", " %")
        return f"{text} {unit}" if unit else text


_WRITER = _Writer()
