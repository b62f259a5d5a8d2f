"""The page says what the evidence says, in both modes, needs nothing from elsewhere, and takes no text as markup."""

from __future__ import annotations

import re
from datetime import date
from html.parser import HTMLParser

import msgspec
import pytest
from msgspec.structs import replace

from compliance.keys import fingerprint, from_text, to_text
from compliance.report.evidence import Evidence
from compliance.report.page import About, render
from compliance.report.papers import Papers
from compliance.report.recount import Day, Missing, Model, Policy, Recount, Shard, Tally

HOSTILE = "<script>alert(1)</script>\"'&{{ 7*7 }}\u202e]]></svg></style>"
PAPERS = msgspec.convert(
    {
        "manifest": {
            "name": "small",
            "version": "3",
            "digest": "d0" * 32,
            "licence": "Apache-2.0",
            "lineage": [
                {"name": "middle", "digest": "e1" * 32, "licence": "MIT", "relation": "parent"},
                {"name": "large", "digest": "e2" * 32, "licence": "BSD-3-Clause", "relation": "parent"},
            ],
            "recipe": [{"kind": "export", "opset": 17}, {"kind": "int8", "per_channel": True}],
        },
        "measurements": {
            "before": {"size_bytes": 90_868_373, "latency_ms": 9.91, "fidelity": 1.0},
            "after": {"size_bytes": 22_963_344, "latency_ms": 4.2, "fidelity": 0.9913},
            "machine": "two cores",
        },
    },
    Papers,
)
ABOUT = About(
    box="edge-17", settings="edge-17/sealpress.toml", root=to_text(bytes(range(32))), version="0.1.0", made=10**18
)
NONE = Missing(records=0, allowed=0, refused=0)
RECOUNT = Recount(
    days=(
        Day(day=date(2026, 10, 1), allowed=2_001, refused=11),
        Day(day=date(2026, 10, 3), allowed=1_022, refused=26),
    ),
    actions=(Tally(name="infer", allowed=3_023, refused=37),),
    purposes=(Tally(name="search", allowed=3_023, refused=12), Tally(name="", allowed=0, refused=25)),
    models=(Model(digest="d0" * 32, name="small", allowed=3_023, refused=37, answered=3_019, papers=PAPERS),),
    data=(Tally(name="email", allowed=71, refused=13),),
    overrides=(Tally(name="emergency (ann, bob)", allowed=3, refused=1),),
    sanitised=(Tally(name="email (masked)", allowed=2, refused=0),),
    rules={"purpose.stated": 29, "privacy.basis": 14},
    policies=(Policy(digest="b7" * 32, calls=3_060, first=10**18, last=10**18 + 10**9),),
    done=3_010,
    failed={"model_failed": 8},
    unfinished=5,
    unread=0,
    erased=NONE,
    elsewhere=NONE,
    misdated=0,
)
OPENED = Evidence(
    journal="0123456789abcdef0123456789abcdef",
    digest="c4" * 32,
    shards=(
        Shard(
            name="shard-000",
            size=6_090,
            root="q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=",
            at=10**18,
            allowed=3_023,
            refused=37,
            rules={"purpose.stated": 29, "privacy.basis": 14},
        ),
    ),
    records=6_090,
    allowed=3_023,
    refused=37,
    rules={"purpose.stated": 29, "privacy.basis": 14},
    unfinished=5,
    unsealed=0,
    gaps=0,
    auditors=("f3" * 32,),
    given=False,
    witnessed=None,
    recount=RECOUNT,
)
SEALED = replace(OPENED, recount=None)


class Tags(HTMLParser):
    """The tags and attributes of a page, and what a reader sees of it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.seen: list[str] = []
        self.feed(page)
        self.text = " ".join(" ".join(self.seen).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        if self.lasttag != "style" and data.strip():
            self.seen.append(data)


def text(evidence: Evidence, about: About = ABOUT) -> str:
    return Tags(render(evidence, about)).text


def test_the_cards_show_the_counts() -> None:
    for evidence in (OPENED, SEALED):
        for card in ("3,023 calls allowed", "37 calls refused", "5 without an outcome", "6,090 records checked"):
            assert card in text(evidence)


def test_every_number_of_the_recount_stands_beside_its_name() -> None:
    page = text(OPENED)
    for row in (
        "1\u20133 October 2026",
        "1 October 2026: 2,001 allowed, 11 refused",
        "2 October 2026: 0 allowed, 0 refused",
        "3 October 2026: 1,022 allowed, 26 refused",
        "done 3,010 failed: model_failed 8 without an outcome 5 refused 37 all 3,060",
        "purpose.stated 29 privacy.basis 14",
        "search 3,023 12 none stated 0 25",
        "small (d0d0d0d0d0d0) 3,023 37",
        "infer 3,023 37",
        "email 71 13",
        "in 3,019 calls that it answered",
        "decided 3,060 calls, 2001-09-09 01:46:40 UTC to 2001-09-09 01:46:41 UTC",
        "recounted with the auditor’s key",  # noqa: RUF001 - as it is typeset
    ):
        assert row in page


def test_the_chain_goes_from_the_first_ancestor_over_the_steps_to_the_bundle() -> None:
    page = text(OPENED)
    assert "large (BSD-3-Clause) → middle (MIT, 90.9 MB) → export → int8 → small 3 (Apache-2.0, 23.0 MB)" in page
    for row in (
        "export (opset 17); int8 (per_channel True)",
        "90.9 MB → 23.0 MB, 3.96 times smaller",
        "1.0000 → 0.9913",
        "9.91 ms → 4.20 ms, median, on two cores",
        " ".join(["d0d0"] * 16),
        " ".join(["e1e1"] * 16),
        " ".join(["b7b7"] * 16),
    ):
        assert row in page


def test_without_the_key_the_page_shows_what_was_signed_and_says_what_is_missing() -> None:
    page = text(SEALED)
    for said in (
        "signed counters only",
        "up to 2001-09-09 01:46:40 UTC",
        "Not shown: sealed to the auditor.",
        "Not shown: which model answered",
        "nothing about models, purposes, days or outcomes",
        "allowed 3,023 without an outcome 5 refused 37 all 3,060",
        "purpose.stated 29",
    ):
        assert said in page
    for sealed in ("Calls by purpose", "Calls per day", "search", "small", "done", "recounted with"):
        assert sealed not in page


def test_the_reader_can_check() -> None:
    for evidence in (OPENED, SEALED):
        page = text(evidence)
        for said in (
            "sealpress journal verify --settings edge-17/sealpress.toml",
            OPENED.journal,
            "shard-000 6,090 q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA= 2001-09-09 01:46:40 UTC",
            "grep -F -B 2 -A 4 'q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=' edge-17/journal/shard-000.heads",
            " ".join(["c4c4"] * 16),
            ABOUT.root,
            " ".join(["f3f3"] * 16),
            "Unwitnessed",
            "It is not legal advice.",
        ):
            assert said in page
        assert fingerprint(from_text(ABOUT.root)) in page.replace(" ", "")


def test_a_command_holds_a_path_as_a_shell_takes_it() -> None:
    page = text(SEALED, replace(ABOUT, settings="my box; rm -r x/sealpress.toml"))
    assert "--settings 'my box; rm -r x/sealpress.toml'" in page
    assert "'my box; rm -r x/journal/shard-000.heads'" in page


@pytest.mark.parametrize("evidence", [OPENED, SEALED])
def test_the_page_needs_nothing_from_elsewhere(evidence: Evidence) -> None:
    page = render(evidence, ABOUT)
    tags = Tags(page)
    assert "http:" not in page
    assert "https:" not in page
    assert not {"script", "link", "img", "iframe", "object", "embed", "base", "form", "a", "use", "image"} & set(
        tags.tags
    )
    assert not {name for name, _ in tags.attributes if name.startswith("on") or name in {"src", "href", "srcset"}}
    assert set(re.findall(r"url\(([^)]*)\)", page)) <= {"#hatch"}
    assert "@import" not in page
    assert "default-src 'none'" in page


@pytest.mark.parametrize("evidence", [OPENED, SEALED])
def test_the_page_judges_nobody(evidence: Evidence) -> None:
    assert "compliant" not in render(evidence, ABOUT).lower()
    assert "compliance" not in render(evidence, ABOUT).lower()


def test_the_same_evidence_gives_the_same_page() -> None:
    assert render(OPENED, ABOUT) == render(OPENED, ABOUT)
    later = replace(ABOUT, made=ABOUT.made + 10**9)
    assert render(OPENED, later) == render(OPENED, ABOUT).replace(
        "Made 2001-09-09 01:46:40", "Made 2001-09-09 01:46:41"
    )


def test_no_text_of_the_journal_is_markup() -> None:
    tally = (Tally(name=HOSTILE, allowed=1, refused=1),)
    manifest = replace(
        PAPERS.manifest,
        name=HOSTILE,
        version=HOSTILE,
        licence=HOSTILE,
        lineage=tuple(replace(a, name=HOSTILE, digest=HOSTILE, licence=HOSTILE) for a in PAPERS.manifest.lineage),
        recipe=({"kind": HOSTILE, HOSTILE: [HOSTILE]}, {"kind": 7}, {}),
    )
    papers = replace(PAPERS, manifest=manifest, measurements=replace(PAPERS.measurements, machine=HOSTILE))
    model = replace(RECOUNT.models[0], name=HOSTILE, digest=HOSTILE, papers=papers)
    recount = replace(
        RECOUNT,
        actions=tally,
        purposes=tally,
        data=tally,
        models=(model, replace(model, papers=None)),
        rules={HOSTILE: 3},
        failed={HOSTILE: 2},
        policies=(replace(RECOUNT.policies[0], digest=HOSTILE),),
    )
    about = replace(ABOUT, box=HOSTILE, settings=HOSTILE, version=HOSTILE, exposed=(("auditor-private", HOSTILE),))
    for evidence in (replace(OPENED, recount=recount), replace(SEALED, rules={HOSTILE: 3}, journal=HOSTILE)):
        page = render(evidence, about)
        assert set(Tags(page).tags) <= set(Tags(render(OPENED, ABOUT)).tags)
        assert "<script" not in page
        assert "{{ 7*7 }}" in Tags(page).text
    assert "\u202e" not in render(replace(OPENED, recount=recount), replace(ABOUT, box=HOSTILE))


def test_a_table_without_end_is_summed_up() -> None:
    purposes = tuple(Tally(name=f"purpose-{i}", allowed=2, refused=3) for i in range(1_012))
    models = tuple(replace(RECOUNT.models[0], digest=f"{i:064}") for i in range(30))
    rules = {f"rule-{i}": 100 - i for i in range(40)}
    page = text(replace(OPENED, recount=replace(RECOUNT, purposes=purposes, models=models, rules=rules)))
    assert "purpose-11 2 3 1,000 more 2,000 3,000" in page
    assert "purpose-12 " not in page
    assert "22 more models answered fewer calls." in page
    assert "28 rules with fewer refusals not shown." in page


def test_erased_records_are_said() -> None:
    recount = replace(RECOUNT, erased=Missing(records=9, allowed=3, refused=1), done=3_007)
    page = text(replace(OPENED, recount=recount))
    assert "9 records erased: 3 calls allowed and 1 call refused" in page
    assert "without an outcome 5 erased 3 refused 37 erased 1 all 3,060" in page
    assert "Not in the chart: 0 calls with an impossible time, 4 erased calls." in page
    assert "erased" not in text(OPENED)


def test_records_of_other_auditors_are_said() -> None:
    recount = replace(RECOUNT, elsewhere=Missing(records=9, allowed=3, refused=1), done=3_005, unread=2)
    page = text(replace(OPENED, recount=recount))
    assert "9 records sealed to other auditors: 3 calls allowed and 1 call refused" in page
    assert "ended in a record that cannot be read 2 sealed to other auditors 3 refused 37 sealed to other" in page
    assert "0 erased calls, 4 calls sealed to other auditors." in page
    assert "other auditors" not in text(OPENED)


def test_a_head_or_a_witness_from_outside_is_said() -> None:
    given = text(replace(OPENED, given=True))
    seen = text(replace(OPENED, witnessed=(6_000, 10**9)))
    assert "Compared: a head held outside was given" in given
    assert "Witnessed: a witness saw 6,000 records of this journal at 2001-09-09 01:46:40 UTC" in seen
    for page in (given, seen):
        assert "Unwitnessed" not in page


def test_fix_first_says_what_is_the_case_and_nothing_else() -> None:
    leads = {
        "private key lies with the box. It was found at box-auditor/auditor.key": (
            OPENED,
            replace(ABOUT, exposed=(("auditor-private", "box-auditor/auditor.key"),)),
        ),
        "root key lies with the box. It was found at box-root/root.key": (
            OPENED,
            replace(ABOUT, exposed=(("journal-root", "box-root/root.key"),)),
        ),
        "Found torn 2 times": (replace(OPENED, gaps=2), ABOUT),
        "7 records behind the last signed head": (replace(OPENED, unsealed=7), ABOUT),
        "5 allowed calls without an outcome": (OPENED, ABOUT),
        "No call was ever refused": (replace(OPENED, refused=0), ABOUT),
        "No call is on record": (replace(SEALED, allowed=0, refused=0), ABOUT),
        "2 calls with an impossible time": (replace(OPENED, recount=replace(RECOUNT, misdated=2)), ABOUT),
        "answered without papers on record": (
            replace(OPENED, recount=replace(RECOUNT, models=(replace(RECOUNT.models[0], papers=None),))),
            ABOUT,
        ),
    }
    calm = text(replace(OPENED, unfinished=0))
    for lead, (evidence, about) in leads.items():
        assert lead in text(evidence, about)
        assert lead not in calm
    assert "Unwitnessed. No head of this journal was compared" in calm
    assert "Nothing was found." in text(replace(OPENED, unfinished=0, given=True))
    assert "Nothing was found." not in calm


def test_an_empty_journal_has_a_page() -> None:
    nothing = Recount(
        days=(),
        overrides=(),
        sanitised=(),
        actions=(),
        purposes=(),
        models=(),
        data=(),
        rules={},
        policies=(),
        done=0,
        failed={},
        unfinished=0,
        unread=0,
        erased=NONE,
        elsewhere=NONE,
        misdated=0,
    )
    empty = replace(OPENED, shards=(), records=0, allowed=0, refused=0, rules={}, unfinished=0, recount=nothing)
    for evidence in (empty, replace(empty, recount=None)):
        page = text(evidence)
        assert "No call is on record." in page
        assert "no call yet" in page
    assert "No model answered a call." in text(empty)
