"""What a licence allows, which licence a source came under, and the texts: a table with sources, no legal advice."""

from policies.licences.attribution import attribution
from policies.licences.papers import LicenceError, agreed, facts, identify, spdx
from policies.licences.table import Facts, Source
from policies.licences.texts import text

__all__ = ["Facts", "LicenceError", "Source", "agreed", "attribution", "facts", "identify", "spdx", "text"]
