"""Which licence a source came under: known by every word, or not at all."""

from __future__ import annotations

import re
import textwrap

import pytest

from policies.licences import LicenceError, agreed, identify, spdx, text

IDS = ("Apache-2.0", "MIT", "CC-BY-4.0", "CC-BY-NC-4.0")
GRANT = text("MIT").partition("holders>\n\n")[2]
TERMS = text("Apache-2.0").partition("APPENDIX")[0]


@pytest.mark.parametrize("licence", IDS)
def test_the_canonical_text_is_recognised(licence: str) -> None:
    assert identify(text(licence)) == licence


@pytest.mark.parametrize("licence", IDS)
@pytest.mark.parametrize(
    "change",
    [
        str.upper,
        lambda whole: whole.replace("\n", "\r\n"),
        lambda whole: re.sub(r"[ \t]+", "  ", whole),
        lambda whole: textwrap.indent(whole, " * "),
        lambda whole: whole.replace("http:", "https:"),
        lambda whole: "\ufeff" + whole,
        lambda whole: "Copyright (c) 2019-2024 Ann Müller <ann@example.org>\nAll rights reserved.\n\n" + whole,
        lambda whole: "© 2020 Ann\n" + whole,
    ],
    ids=["capitals", "crlf", "spaces", "comment", "https", "bom", "copyright", "sign"],
)
def test_the_form_is_free(licence: str, change: object) -> None:
    assert callable(change)
    assert identify(change(text(licence))) == licence


@pytest.mark.parametrize(
    ("licence", "wording"),
    [
        ("MIT", GRANT),
        ("MIT", "The MIT License (MIT)\n\nCopyright (c) 2020 Ann\n\n" + GRANT),
        ("MIT", GRANT.replace("\n", " ")),
        ("Apache-2.0", TERMS),
        ("Apache-2.0", TERMS.replace("END OF TERMS AND CONDITIONS", "")),
        ("Apache-2.0", text("Apache-2.0").replace("[yyyy] [name of copyright owner]", "2018 The Authors")),
        (
            "Apache-2.0",
            text("Apache-2.0").replace(
                "http://www.apache.org/licenses/\n", "https://www.apache.org/licenses/LICENSE-2.0\n"
            ),
        ),
        ("CC-BY-4.0", text("CC-BY-4.0").partition("=====\n\nCreative Commons is not a party")[0]),
        ("CC-BY-NC-4.0", text("CC-BY-NC-4.0").partition("=====\n\nCreative Commons is not a party")[0]),
        (
            "CC-BY-NC-4.0",
            "Creative Commons Attribution-NonCommercial 4.0 International\nPublic License\n\nBy exercising"
            + text("CC-BY-NC-4.0").partition("By exercising")[2],
        ),
    ],
)
def test_the_parts_that_are_no_terms_may_be_missing(licence: str, wording: str) -> None:
    assert identify(wording) == licence


@pytest.mark.parametrize("licence", IDS)
def test_a_text_with_one_word_more_or_less_is_unknown(licence: str) -> None:
    words = text(licence).split(" ")
    for place in range(len(words) // 2, len(words), 101):
        assert identify(" ".join([*words[:place], "not", *words[place:]])) is None
    start = text(licence).index("ranted")
    assert identify(text(licence)[: start - 1] + "not g" + text(licence)[start:]) is None
    assert identify(text(licence).replace("granted", "", 1).replace("grants", "", 1)) is None


@pytest.mark.parametrize("licence", IDS)
@pytest.mark.parametrize(
    "clause",
    [
        "The Software may not be used commercially.",
        "Commons Clause: the grant does not include the right to Sell.",
        "仅限非商业用途",
        "Copyright (c) 2024 Ann. For research use only.",
        "Copyright (c) 2024 阿里 仅限非商业用途",
        "Copyright (c) 2024 Ann. Licensed for evaluation.",
        "© 2024 Ann, " + "x " * 200,
        "x",
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_clause_added_makes_it_another_licence(licence: str, clause: str, first: bool) -> None:
    assert identify(f"{clause}\n\n{text(licence)}" if first else f"{text(licence)}\n\n{clause}") is None


@pytest.mark.parametrize(
    "other",
    [
        "",
        "MIT",
        "MIT License",
        GRANT.partition("The above")[0],
        GRANT.replace("subject to\nthe following conditions", "subject to\nthe condition"),
        GRANT.replace("without restriction", "with restriction"),
        GRANT.replace("notice", "n\u043etice", 1),
        text("CC-BY-NC-4.0").replace("NonCommercial", "ShareAlike"),
        text("GPL-3.0-only").replace(
            "You may make, run and propagate covered works", "You may propagate covered works"
        ),
        text("LicenseRef-scancode-llama-3.2-license-2024").replace("700 million", "700 thousand"),
        text("CC-BY-NC-4.0").replace("4.0", "3.0"),
        text("CC-BY-4.0").replace("Attribution", "Attribution-ShareAlike"),
        text("CC-BY-NC-4.0").replace("Attribution-NonCommercial", "Attribution"),
        text("MIT") + text("Apache-2.0"),
        text("MIT") * 200,
        "\ud800",
    ],
)
def test_another_text_is_unknown(other: str) -> None:
    assert identify(other) is None


@pytest.mark.parametrize(
    ("statement", "licence"),
    [
        *((licence, licence) for licence in IDS),
        ("apache-2.0", "Apache-2.0"),
        ("Apache License 2.0", "Apache-2.0"),
        ("Apache License, Version 2.0", "Apache-2.0"),
        (" mit\n", "MIT"),
        ("The MIT License", "MIT"),
        ("cc-by-4.0", "CC-BY-4.0"),
        ("gpl-3.0", "GPL-3.0-only"),
        ("llama3.2", "LicenseRef-scancode-llama-3.2-license-2024"),
        ("creativeml-openrail-m", "LicenseRef-scancode-stable-diffusion-2022-08-22"),
        ("CreativeML Open RAIL++-M", "LicenseRef-creativeml-openrail-plusplus-m-2023"),
        ("gemma", "LicenseRef-scancode-gemma-tou-2025-03-24"),
        ("nvidia-open-model-license", "LicenseRef-scancode-nvidia-open-model-2025-04-28"),
        ("LicenseRef-own", "LicenseRef-own"),
        ("Creative Commons Attribution 4.0 International", "CC-BY-4.0"),
        ("cc-by-nc-4.0", "CC-BY-NC-4.0"),
        ("CC BY-NC 4.0", "CC-BY-NC-4.0"),
        ("Creative Commons Attribution-NonCommercial 4.0 International", "CC-BY-NC-4.0"),
    ],
)
def test_a_statement_names_a_licence(statement: str, licence: str) -> None:
    assert spdx(statement) == licence


@pytest.mark.parametrize(
    "statement",
    [
        "",
        "other",
        "unknown",
        "apache",
        "Apache-1.1",
        "cc-by-nc",
        "cc-by-2.0",
        "cc-by-nc-nd-5.0",
        "openrail",
        "openrail++",
        "gpl",
        "MIT OR Apache-2.0",
        "mit with exceptions",
        "llama5",
        "M I T",
        "仅 MIT",
        "mit" * 100_000,
        "\ud800",
    ],
)
def test_another_statement_is_unknown(statement: str) -> None:
    with pytest.raises(LicenceError) as caught:
        spdx(statement)
    assert caught.value.code == "licence_unknown"
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("stated", "papers"),
    [
        (None, ["apache-2.0"]),
        (None, ["apache-2.0", "Apache-2.0"]),
        ("apache-2.0", []),
        ("Apache-2.0", ["apache-2.0"]),
    ],
)
def test_papers_agree(stated: str | None, papers: list[str]) -> None:
    assert agreed(stated, papers) == "Apache-2.0"


@pytest.mark.parametrize(
    ("code", "stated", "papers"),
    [
        ("licence_missing", None, []),
        ("licence_conflict", None, ["apache-2.0", "mit"]),
        ("licence_conflict", "mit", ["cc-by-nc-4.0"]),
        ("licence_conflict", "mit", ["cc-by-nc-4.0", "mit"]),
        ("licence_unknown", "mit", ["other"]),
        ("licence_unknown", "mit", ["mit", "llama-5"]),
        ("licence_unknown", "other", ["mit"]),
        ("licence_unknown", None, [""]),
        ("licence_unknown", "", []),
        ("licence_unknown", None, ["LicenseRef-own"]),
        ("licence_unknown", "LicenseRef-own", ["LicenseRef-own"]),
        ("licence_conflict", "LicenseRef-own", ["mit"]),
    ],
)
def test_a_statement_fills_a_gap_and_nothing_more(code: str, stated: str | None, papers: list[str]) -> None:
    with pytest.raises(LicenceError) as caught:
        agreed(stated, papers)
    assert caught.value.code == code
    assert "--licence" in LicenceError.hints["licence_missing"]
