"""FITS files damaged on purpose: single cards, whole units and bare bytes, as hypothesis draws them."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

BLOCK, CARD = 2880, 80

#: Keywords that the program reads or that say how a unit is stored.
KEYS = (
    *("SIMPLE", "XTENSION", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "PCOUNT", "GCOUNT", "BZERO", "BSCALE"),
    *("EXTEND", "EXTNAME", "EXTVER", "END", "INSTRUME", "DETECTOR", "OBJECT", "OBSTYPE", "OBSCLASS", "OBSID"),
    *("GEMPRGID", "FILTER1", "FILTER2", "FILT1POS", "EXPTIME", "COADDS", "LNRS", "READMODE", "DATE-OBS"),
    *("UT", "RA", "DEC", "PA", "INPORT", "FRAME", "TRKFRAME", "RATRACK", "BUNIT", "RAOFFSET", "DECOFFSE"),
    *("POFFSET", "QOFFSET", "ARRAYID", "CCDSEC", "DATASEC", "DETSEC", "CTYPE1", "CTYPE2", "CRVAL1", "CRVAL2"),
    *("CRPIX1", "CRPIX2", "CD1_1", "CD1_2", "CD2_1", "CD2_2", "RAWGEMQA", "RAWPIREQ", "PMRA", "PMDEC"),
    *("EPOCH", "AIRMASS", "TELESCOP", "GAIN", "RDNOISE", "PREPARE", "GOAFKEY", "BPMASK", "MJD-OBS"),
)
#: Values as they stand in a card: of other types, impossible, or not to be read at all.
ODD = (
    *("-1", "0", "1", "T", "F", "''", "'abc'", "", "1E308", "-1E308", "1E-308", "99999999999999999999"),
    *("2147483648", "NaN", "'NaN'", "Inf", "-5.0", "1e", "(1.0, 2.0)", "'[0:0,0:0]'", "'[9:1,9:1]'"),
    *("'[1:64,1:64]'", "'[1:999999,1:999999]'", "'2017-13-45'", "'9999-12-31'", "'0001-01-01'"),
    *("'23:59:60.0'", "'<script>alert(1)</script>'", "'../../etc/passwd'", "'a&b&c'", "'Unknown'"),
    *("'unclosed", "= = =", "'Kshort_G1105'", "'FK5'", "-64", "8", "16", "64", "90.0", "-90.1", "360.5"),
)


@dataclass
class Unit:
    """A header's cards of 80 bytes, without END and blanks behind it, and the bytes of the data after it."""

    cards: list[bytes]
    data: bytes


def take_apart(content: bytes, sizes: tuple[int, ...]) -> list[Unit]:
    """The units of a sound file; ``sizes``: bytes of data in each (0 for the primary)."""
    units, at = [], 0
    for size in sizes:
        cards = []
        while content[at : at + CARD].rstrip() != b"END":
            cards.append(content[at : at + CARD])
            at += CARD
        at = -(-(at + CARD) // BLOCK) * BLOCK
        units.append(Unit(cards, content[at : at + -(-size // BLOCK) * BLOCK]))
        at += len(units[-1].data)
    return units


def put_together(units: list[Unit]) -> bytes:
    """The file of the units."""
    parts = []
    for unit in units:
        header = b"".join(unit.cards) + b"END".ljust(CARD)
        parts += [header, b" " * (-len(header) % BLOCK), unit.data]
    return b"".join(parts)


@dataclass(frozen=True)
class Change:
    """One card of one unit is removed (no value), replaced, put in twice or put in anew."""

    unit: int
    key: str
    value: str | None
    twice: bool = False

    def apply(self, units: list[Unit]) -> None:
        """Change the card in place."""
        cards = units[self.unit % len(units)].cards
        name = self.key.ljust(8).encode()
        at = next((place for place, card in enumerate(cards) if card.startswith(name)), None)
        if self.value is None:
            if at is not None:
                del cards[at]
            return
        card = f"{self.key:8}= {self.value}".encode("latin-1", "replace")[:CARD].ljust(CARD)
        if at is None or self.twice:
            cards.append(card)
        else:
            cards[at] = card


def header_changes() -> st.SearchStrategy[list[Change]]:
    """One to four changes of cards."""
    plain = st.characters(min_codepoint=32, max_codepoint=126)
    value = st.one_of(
        st.none(),
        st.sampled_from(ODD),
        st.integers().map(str),
        st.floats().map(str),
        st.text(plain, max_size=60).map(lambda text: "'" + text.replace("'", "''") + "'"),
        st.text(plain, max_size=70),
    )
    one = st.builds(Change, st.integers(0, 4), st.sampled_from(KEYS), value, st.booleans())
    return st.lists(one, min_size=1, max_size=4)


def changed_headers(content: bytes, sizes: tuple[int, ...], changes: list[Change]) -> bytes:
    """The file with its cards changed."""
    units = take_apart(content, sizes)
    for change in changes:
        change.apply(units)
    return put_together(units)


#: What a file may become besides itself.
OTHER_FILES = (b"", b"SIMPLE", b"<!doctype html>Login Required", b"\x89PNG\r\n" + bytes(99), bytes(BLOCK),
               b"BZh91AY&SY" + bytes(40), b" " * BLOCK, b"SIMPLE  =" + b" " * (BLOCK - 9))  # fmt: skip


@st.composite
def damaged_files(draw: st.DrawFn, content: bytes) -> bytes:
    """Cut, flipped, blanked, shifted, filled with NaN or no FITS at all."""
    way = draw(st.sampled_from(("cut", "flip", "blank", "insert", "delete", "other", "longer", "pixels")))
    at = draw(st.integers(0, len(content) - 1))
    if way == "cut":
        return content[:at]
    if way == "other":
        return draw(st.sampled_from(OTHER_FILES))
    if way == "longer":
        return content + draw(st.binary(min_size=1, max_size=3 * BLOCK))
    length = draw(st.integers(1, 20_000))
    if way == "insert":
        return content[:at] + draw(st.binary(min_size=1, max_size=200)) + content[at:]
    if way == "delete":
        return content[:at] + content[at + length :]
    changed = bytearray(content)
    if way == "flip":
        for place in draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=20)):
            changed[place] ^= 1 << draw(st.integers(0, 7))
    else:
        fill = b"\0\0\0\0" if way == "blank" else draw(st.sampled_from(PIXELS))
        at -= at % 4
        part = (fill * (length // 4 + 1))[: len(changed) - at]
        changed[at : at + len(part)] = part
    return bytes(changed)


#: NaN, infinities, the largest and a negative number as FITS stores them in four bytes.
PIXELS = (
    b"\x7f\xc0\0\0",
    b"\x7f\x80\0\0",
    b"\xff\x80\0\0",
    b"\x7f\x7f\xff\xff",
    b"\xff\x7f\xff\xff",
    b"\xc7\xc3P\0",
)
