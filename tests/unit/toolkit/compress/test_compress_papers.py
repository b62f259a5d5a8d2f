"""What the papers of a source say about its licence: read as it is, never guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from policies import licences
from toolkit.compress.errors import SourceError
from toolkit.compress.sources.folder import Folder
from toolkit.compress.sources.papers import Papers, read_papers

MIT = licences.text("MIT")
APACHE = licences.text("Apache-2.0")


def papers(folder: Path, **files: str) -> Papers:
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return read_papers(Folder(folder))


@pytest.mark.parametrize(
    ("front", "expected"),
    [
        ("language: en", ("en",)),
        ("language: [de, zh-Hans]", ("de", "zh-Hans")),
        ("language: no", ("no",)),
        ("language:\n- en\n- 3\n- no\n- a language", ("en", "no")),
        ("language: {en: 1}", ()),
        ("license: mit", ()),
    ],
)
def test_the_card_names_languages(tmp_path: Path, front: str, expected: tuple[str, ...]) -> None:
    (tmp_path / "README.md").write_text(f"---\n{front}\n---\n")
    assert read_papers(Folder(tmp_path)).languages == expected


@pytest.mark.parametrize(
    ("front", "expected"),
    [
        ("license: apache-2.0", ("apache-2.0",)),
        ("license: [mit, apache-2.0]", ("mit", "apache-2.0")),
        ("license: other\nlicense_name: my-own", ("my-own",)),
        ("license: other", ("other",)),
        ("language: en", ()),
        ("", ()),
    ],
)
def test_the_card_states_the_licence(tmp_path: Path, front: str, expected: tuple[str, ...]) -> None:
    assert papers(tmp_path, README__md=f"---\n{front}\n---\n# x y\n").statements == expected


@pytest.mark.parametrize(
    ("front", "bases", "relation"),
    [
        ("base_model: org/a", ("org/a",), "parent"),
        ("base_model: [org/a, org/b, org/a]", ("org/a", "org/b"), "merged"),
        ("base_model: [org/a, org/b]\nbase_model_relation: merge", ("org/a", "org/b"), "merged"),
        ("base_model: [org/a]\nbase_model_relation: merge", ("org/a",), "merged"),
        ("base_model: org/a\nbase_model_relation: quantized", ("org/a",), "parent"),
        ("base_model: org/a\nbase_model_relation: adapter", ("org/a",), "parent"),
        ("base_model: org/a\nbase_model_relation: something", ("org/a",), "parent"),
        ("base_model: /home/me/model", ("/home/me/model",), "parent"),
        ("base_model:", (), "parent"),
        ("license: mit", (), "parent"),
    ],
)
def test_the_card_names_what_it_was_made_from(
    tmp_path: Path, front: str, bases: tuple[str, ...], relation: str
) -> None:
    found = papers(tmp_path, README__md=f"---\n{front}\n---\n")
    assert (found.bases, found.relation) == (bases, relation)


@pytest.mark.parametrize(
    ("front", "code"),
    [
        ("base_model: {a: b}", "source_config"),
        ("base_model: 7", "source_config"),
        ("base_model: ''", "source_config"),
        ("base_model: a=MIT", "source_config"),
        ('base_model: "a\\nb"', "source_config"),
        (f"base_model: {'x' * 300}", "source_config"),
        (f"base_model: [{', '.join(f'm{n}' for n in range(40))}]", "source_too_large"),
    ],
)
def test_a_name_that_is_none_is_refused(tmp_path: Path, front: str, code: str) -> None:
    with pytest.raises(SourceError) as caught:
        papers(tmp_path, README__md=f"---\n{front}\n---\n")
    assert caught.value.code == code


@pytest.mark.parametrize("name", ["USE_POLICY.md", "use-policy.txt", "Acceptable_Use_Policy"])
def test_an_acceptable_use_policy_is_kept(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("Be kind.")
    assert papers(tmp_path).use_policies == ("Be kind.",)


@pytest.mark.parametrize("card", ["# Only text\n\nlicense: mit\n", "text\n---\nlicense: mit\n---\n", ""])
def test_a_card_without_front_matter_states_nothing(tmp_path: Path, card: str) -> None:
    assert papers(tmp_path, README__md=card).statements == ()


@pytest.mark.parametrize(
    "front",
    [
        "license: no",
        "license: 2.0",
        "license: {a: b}",
        "license: [1]",
        "- license",
        "license: mit\nlicense: apache-2.0",
        "license: &a mit\nother: *a",
        "a: &a [x,x]\nb: &b [*a,*a]\nlicense: mit",
        "license: !!python/object/apply:os.getcwd []",
        "license: 'mit",
        "license: mit\nx: " + "[" * 5000,
        "license: mit\ndate: 2024-13-45",
    ],
)
def test_front_matter_that_is_not_plain_is_refused(tmp_path: Path, front: str) -> None:
    with pytest.raises(SourceError) as caught:
        papers(tmp_path, README__md=f"---\n{front}\n---\n")
    assert caught.value.code == "source_config"


@pytest.mark.parametrize("name", ["LICENSE", "LICENSE.txt", "LICENCE.md", "license", "COPYING", "LICENSE-MIT"])
def test_a_licence_file_is_kept_and_known_by_its_text(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(MIT)
    found = papers(tmp_path)
    assert (found.statements, found.licence) == (("MIT",), MIT)


@pytest.mark.parametrize("name", ["README", "licensed.py", "my-license.txt", "LICENSE copy"])
def test_another_file_is_no_licence(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(MIT)
    assert papers(tmp_path).licence is None


def test_an_altered_licence_text_is_known_to_nobody(tmp_path: Path) -> None:
    found = papers(tmp_path, LICENSE=MIT.replace("without restriction", "without commercial use"))
    with pytest.raises(licences.LicenceError) as caught:
        licences.agreed(None, found.statements)
    assert caught.value.code == "licence_unknown"


def test_papers_that_disagree_are_all_passed_on(tmp_path: Path) -> None:
    found = papers(tmp_path, README__md="---\nlicense: apache-2.0\n---\n", LICENSE=MIT)
    assert found.statements == ("apache-2.0", "MIT")
    with pytest.raises(licences.LicenceError) as caught:
        licences.agreed(None, found.statements)
    assert caught.value.code == "licence_conflict"


def test_a_notice_goes_with_the_licence_and_not_into_it(tmp_path: Path) -> None:
    found = papers(tmp_path, LICENSE=APACHE, NOTICE="Made by somebody.")
    assert (found.licence, found.notice, found.statements) == (APACHE, "Made by somebody.", ("Apache-2.0",))


def test_a_paper_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "LICENSE").write_bytes(b"\xff\xfeM\x00")
    with pytest.raises(SourceError) as caught:
        papers(tmp_path)
    assert caught.value.code == "source_config"
