"""Countries, and the unions of them that licences name.

Codes are those of ISO 3166-1 (alpha-2), "EU" is the European Union. A code that is none of a country is in no place, so
that "UK" or "EL", which people write for GB and GR, is refused and not taken for a country that no licence names.
Source of EU: Treaty on European Union Art. 52 and Treaty on the Functioning of the European Union Art. 355(1)
and (4): outermost regions and Åland have codes of their own.
"""

from __future__ import annotations

__all__ = ["COUNTRIES", "places"]

_COUNTRIES = (
    "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA "
    "CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA "
    "GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP "
    "KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS "
    "MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS "
    "RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW "
    "TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW"
)
_EU = "AT AX BE BG CY CZ DE DK EE ES FI FR GF GP GR HR HU IE IT LT LU LV MF MQ MT NL PL PT RE RO SE SI SK YT"

COUNTRIES = frozenset(_COUNTRIES.split())
_PLACES = {code: frozenset({code, "EU"} if code in _EU.split() else {code}) for code in COUNTRIES}


def places(country: str) -> frozenset[str]:
    """The country and the union that it belongs to; nothing for what is no code of a country."""
    return _PLACES.get(country, frozenset())
