"""Facts per licence, each with the place where the text says so. Not legal advice: a person decides what is unclear.

A fact that the text does not settle is not stated. To add a licence: one entry here, its text in texts/, its other
names in papers.py.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

__all__ = ["TABLE", "Facts", "Source"]

Derive = Literal["none", "local", "share"]


class Source(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a fact stands: the text's address, the section, and the day on which it was read in the copy in texts/."""

    url: str
    section: str
    read: str


class Facts(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the text of a licence says.

    `commercial`: use for commercial purposes is allowed. `derive`: a derivative, such as a compressed model, may not be
    made ("none"), made but not passed on ("local"), or made and passed on ("share"). `share_alike`: a derivative must
    stay under the same terms. `attribution`: notices go with every copy. `notice_file`: so does a NOTICE file, where
    there is one. `sources` has one entry for each of these facts, by its name.
    """

    spdx: str
    name: str
    commercial: bool
    derive: Derive
    share_alike: bool
    attribution: bool
    notice_file: bool
    sources: dict[str, Source]


def _sources(url: str, read: str, **sections: str) -> dict[str, Source]:
    return {fact: Source(url=url, section=section, read=read) for fact, section in sections.items()}


TABLE: dict[str, Facts] = {
    entry.spdx: entry
    for entry in (
        Facts(
            spdx="Apache-2.0",
            name="Apache License 2.0",
            commercial=True,
            derive="share",
            share_alike=False,
            attribution=True,
            notice_file=True,
            sources=_sources(
                "https://www.apache.org/licenses/LICENSE-2.0",
                "2026-11-23",
                commercial="section 2: the grant names no field of use that is left out",
                derive="section 2: prepare, sublicense and distribute Derivative Works; section 4: in any medium",
                share_alike="section 4, last paragraph: different terms may be put on modifications",
                attribution="section 4(a) to (c): a copy of the licence, notices of changes, notices retained",
                notice_file="section 4(d)",
            ),
        ),
        Facts(
            spdx="MIT",
            name="MIT License",
            commercial=True,
            derive="share",
            share_alike=False,
            attribution=True,
            notice_file=False,
            sources=_sources(
                "https://opensource.org/license/mit",
                "2026-11-23",
                commercial="first paragraph: without restriction, to use and to sell among others",
                derive="first paragraph: to modify, merge, publish, distribute and sublicense",
                share_alike="second paragraph: the only condition is that the notices stay",
                attribution="second paragraph: the copyright notice and the permission notice in all copies",
                notice_file="second paragraph: the only condition is that the notices stay",
            ),
        ),
        Facts(
            spdx="CC-BY-4.0",
            name="Creative Commons Attribution 4.0 International",
            commercial=True,
            derive="share",
            share_alike=False,
            attribution=True,
            notice_file=False,
            sources=_sources(
                "https://creativecommons.org/licenses/by/4.0/legalcode",
                "2026-11-28",
                commercial="section 2(a)(1): the grant names no purpose that is left out",
                derive="section 2(a)(1)(B): produce, reproduce and share adapted material",
                share_alike="section 3(a)(4): the adapter's own licence must only not keep others from complying",
                attribution="section 3(a)(1)",
                notice_file="section 3(a)(2): in any reasonable manner",
            ),
        ),
        Facts(
            spdx="CC-BY-NC-4.0",
            name="Creative Commons Attribution-NonCommercial 4.0 International",
            commercial=False,
            derive="share",
            share_alike=False,
            attribution=True,
            notice_file=False,
            sources=_sources(
                "https://creativecommons.org/licenses/by-nc/4.0/legalcode",
                "2026-11-23",
                commercial="section 2(a)(1): for NonCommercial purposes only; the word is defined in section 1(i)",
                derive="section 2(a)(1)(B): produce, reproduce and share adapted material, non-commercially",
                share_alike="section 3(a)(4): the adapter's own licence must only not keep others from complying",
                attribution="section 3(a)(1)",
                notice_file="section 3(a)(2): in any reasonable manner",
            ),
        ),
    )
}
