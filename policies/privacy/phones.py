"""Phone numbers: international ones by country code and length (ITU-T E.164), national ones by how they are written.

A run of digits alone is no phone number. The national forms are those of the United States, the United Kingdom,
Germany, France, Spain, Italy, China and India; where other things look the same, the words before it decide.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from policies.privacy.context import OTHER, Words

__all__ = ["at"]

LEAST = 0.4  # below this it is not worth telling


def at(text: str, start: int) -> Iterator[tuple[int, int, float]]:
    """Start, end and confidence of the phone number that begins at `start`, if one does."""
    if not _LEFT.match(text, start) or _DATE.match(text, start):
        return
    for form, confidence in _FORMS[text[start]]:
        match = form.match(text, start)
        end = _end(text, match) if match else 0
        if end:
            weighed = _weighed(text, start, end, confidence)
            if weighed >= LEAST:
                yield start, end, weighed
            return


# not the rest of a date, a time or a number of another form
_LEFT = re.compile(r"(?<![0-9][-/:])(?<!\+)")
_DATE = re.compile(r"[0-9]{1,2}[-./ ][0-9]{1,2}[-./ ](?:19|20)[0-9]{2}(?![0-9])")
# not the beginning of something longer
_RIGHT = r"(?![0-9A-Za-z]|[.\-/:][0-9])"
# a form that a row of numbers has as well must stand alone
_ALONE = r"(?![ ]?[0-9])"

_PLUS = re.compile(r"\+[ ]?(?P<international>[1-9](?:[ ().\-/]{0,2}[0-9]){6,16})")
# 0049 30 1234567; zeros before one long number are padding more often than a prefix
_ZEROS = re.compile(r"00[ ]?(?P<international>[1-9][0-9]{0,5}[ (.\-/](?:[ ().\-/]{0,2}[0-9]){4,15})")
# (030) 1234567, 030/123456, 020 7946 0958, 06 1234 5678, 010-12345678
_TRUNK = re.compile(r"(?P<trunk>(?:\(0[1-9][0-9]{0,4}\)[ /-]?|0[1-9][0-9]{0,4}[ /-])[0-9]{2,8}(?:[ -][0-9]{2,8}){0,3})")
_FRENCH = re.compile(rf"0[1-9](?:[ .-][0-9]{{2}}){{4}}{_RIGHT}{_ALONE}")
_AMERICAN = re.compile(
    rf"(?:1[ .-])?(?:\([2-9][0-8][0-9]\)[ ]?|[2-9][0-8][0-9][-.])[2-9][0-9]{{2}}[-. ][0-9]{{4}}"
    rf"(?:[ ]?(?:x|ext\.?)[ ]?[0-9]{{1,6}})?{_RIGHT}"
)
_CHINESE = re.compile(rf"1[3-9][0-9][ -]?[0-9]{{4}}[ -]?[0-9]{{4}}{_RIGHT}{_ALONE}")
_INDIAN = re.compile(rf"(?<![0-9][ ])[6-9][0-9]{{4}}[ -][0-9]{{5}}{_RIGHT}{_ALONE}")
_SPANISH = re.compile(
    rf"(?<![0-9][ ])(?:[6-9][0-9]{{2}}(?:[ ][0-9]{{2}}){{3}}|9[0-9][ ][0-9]{{3}}(?:[ ][0-9]{{2}}){{2}}){_RIGHT}{_ALONE}"
)
_ITALIAN = re.compile(rf"(?<![0-9][ ])3[2-9][0-9](?:[ /-][0-9]{{6,7}}|[ ][0-9]{{3}}[ ][0-9]{{4}}){_RIGHT}{_ALONE}")
# 415 555 2671, 612 345 678: so are columns of numbers written
_SPACED = re.compile(rf"(?<![0-9][ ])[2-9][0-9]{{2}}[ ][0-9]{{3}}[ -][0-9]{{3,4}}{_RIGHT}{_ALONE}")
_BARE = re.compile(rf"[0-9]{{9,15}}{_RIGHT}")
# any groups at all, with an extension
_ANY = re.compile(rf"\(?[0-9](?:[ ().\-]{{0,2}}[0-9]){{6,14}}(?:[ ]?(?:x|ext\.?)[ ]?[0-9]{{1,6}})?{_RIGHT}")

# a weak form counts only after a word that speaks of phones
_WEAK, _FAIR, _GOOD, _SURE = 0.3, 0.6, 0.75, 0.9
_DIGITS = (
    (_AMERICAN, _GOOD),
    (re.compile("|".join(form.pattern for form in (_CHINESE, _ITALIAN, _SPANISH, _INDIAN))), _FAIR),
    (re.compile("|".join(form.pattern for form in (_SPACED, _BARE, _ANY))), _WEAK),
)
_FORMS: dict[str, tuple[tuple[re.Pattern[str], float], ...]] = {
    "+": ((_PLUS, _SURE),),
    "(": ((_AMERICAN, _GOOD), (_TRUNK, _GOOD), (_ANY, _WEAK)),
    "0": ((_ZEROS, _GOOD), (_FRENCH, _GOOD), (_TRUNK, _FAIR), (_BARE, _WEAK), (_ANY, _WEAK)),
    **dict.fromkeys("123456789", _DIGITS),
}

_PHONE_WORDS = Words(
    "phone", "mobil", " cell", " call", " ring ", " fax", "whatsapp", " sms ", " text me", " message",
    "answering", " desk ", " office ", "registered", "contact", " reach", "telef", " tel ", " handy", " anruf",
    " ruf", "tél ", "appel", "portable", "joindre", "télef", "teléf", "téléf", "móvil", "movil", "llam", "llám",
    "cellulare", "chiam", "电话", "手机", "联系", "拨打", "致电", "号码",
)  # fmt: skip
_AFTER = re.compile(r"[ ,\-]{1,2}(?:office|fax|mobile|cell|home|work)\b", re.IGNORECASE)


def _weighed(text: str, start: int, end: int, confidence: float) -> float:
    if _PHONE_WORDS.before(text, start) or _AFTER.match(text, end):
        confidence = min(0.95, confidence + 0.35)
    elif OTHER.before(text, start):
        confidence -= 0.3
    return round(confidence, 2)


# country code to the digits that may follow it; other codes have 6 to 12 (E.164: 15 in all)
_LENGTHS = {
    "1": (10, 10),
    "7": (10, 10),
    "33": (9, 9),
    "34": (9, 9),
    "39": (6, 11),
    "44": (9, 10),
    "49": (6, 12),
    "86": (9, 12),
    "91": (10, 10),
}
_CODE = re.compile(
    r"[17]|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]"
    r"|2[1-689][0-9]|3[578][0-9]|42[013]|50[0-9]|59[0-9]|67[0-9]|68[0-9]|69[0-2]|8[058][0-9]|9[679][0-9]"
)
_GROUP = re.compile(r"[0-9]+|\(0\)")
_EDGE = re.compile(rf"(?=x[0-9]{{1,6}}{_RIGHT})|{_RIGHT}")


def _end(text: str, match: re.Match[str]) -> int:
    """Where the number ends: for forms of varying length with the last group that still belongs to it, or 0."""
    kind = match.lastgroup
    if kind is None:
        return match.end()
    groups = list(_GROUP.finditer(text, match.start(kind), match.end()))
    least, most = (9, 12) if kind == "trunk" else _lengths(groups)
    end = digits = 0
    for group in groups:
        # the trunk prefix in +49 (0)30 is not dialled
        digits += len(group[0]) if group[0] != "(0)" else 0
        if least <= digits <= most and _EDGE.match(text, group.end()):
            end = group.end()
    return end


def _lengths(groups: list[re.Match[str]]) -> tuple[int, int]:
    """Least and most digits of an international number, country code included; (1, 0) where there is no such code."""
    code = _CODE.match("".join(group[0] for group in groups if group[0] != "(0)"))
    # a single digit before a dot is a decimal number, not the half of a country code
    if code is None or len(groups[0][0]) < len(code[0]):
        return 1, 0
    least, most = _LENGTHS.get(code[0], (6, 12))
    return least + len(code[0]), most + len(code[0])
