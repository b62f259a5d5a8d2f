"""What a licence allows, which licence a source came under, and the texts: a table with sources, no legal advice."""

from policies.licences.attribution import attribution
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
from policies.licences.table import Entry, Facts, Source, entries, text, use_policies
from policies.licences.words import digest

__all__ = [
    "OWN",
    "Entry",
    "Facts",
    "LicenceError",
    "Source",
    "agreed",
    "attribution",
    "digest",
    "entries",
    "facts",
    "identify",
    "identify_use_policy",
    "known",
    "spdx",
    "text",
    "together",
    "use_policies",
]
