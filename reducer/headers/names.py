"""What the name of a target says: which target it is, however it is typed, and whether it is empty sky."""

from __future__ import annotations

import re

#: Words at the end of an object's name that say "the empty sky beside it", with a number or none.
SKY_WORDS = re.compile(
    r"(^|[ _-]|(?<=\d))((blank|empty|off(set)?)[ _-]*)?(sky|blank|off(set)?[ _-]*target)"
    r"([ _-]*(field|pos(ition)?))?[ _-]*\d*[ _-]*$",
    re.IGNORECASE,
)


def is_sky(name: str) -> bool:
    """Whether a name says that the exposure is of empty sky: 'Sky', 'blank sky 2', 'NGC5128 sky'."""
    return SKY_WORDS.search(name.strip()) is not None


def target_of(name: str) -> str:
    """The target's name without the words that mark a sky pointing; '' where nothing else is in it."""
    return SKY_WORDS.sub("", name.strip()).strip(" _-")


def plain(name: str) -> str:
    """A name without case, blanks and hyphens: the same for 'NGC5128', 'NGC 5128' and 'ngc-5128'."""
    return re.sub(r"[\s_-]+", "", name).casefold()
