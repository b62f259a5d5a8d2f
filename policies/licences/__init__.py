"""What a licence allows, which licence a source came under, and the texts: a table with sources, no legal advice."""

from policies.licences.attribution import attribution
from policies.licences.lineage import UNKNOWN, Forebear, licence_of, must_be_covered, must_be_known
from policies.licences.meet import members
from policies.licences.pages import bound, pages
from policies.licences.papers import (
    OWN,
    LicenceError,
    agreed,
    facts,
    identify,
    identify_use_policy,
    known,
    spdx,
    together,
)
from policies.licences.table import Entry, Facts, Source, entries, text, use_policies, use_policy_text
from policies.licences.words import digest

__all__ = [
    "OWN",
    "UNKNOWN",
    "Entry",
    "Facts",
    "Forebear",
    "LicenceError",
    "Source",
    "agreed",
    "attribution",
    "bound",
    "digest",
    "entries",
    "facts",
    "identify",
    "identify_use_policy",
    "known",
    "licence_of",
    "members",
    "must_be_covered",
    "must_be_known",
    "pages",
    "spdx",
    "text",
    "together",
    "use_policies",
    "use_policy_text",
]
