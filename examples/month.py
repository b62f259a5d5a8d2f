"""A month of traffic that nobody caused, through a real model and gate, and the reports on it.

    python examples/month.py OUT        writes the reports into the folder OUT; examples/month was made so

It presses all-MiniLM-L6-v2 and serves the calls of 30 days in about a minute: the clock of this process is set to
October 2026 and put forward from call to call. Who asks what and when comes from a seed; everything else is as always,
down to the journal, the evidence and its check. Keys and salts are random, so that two runs give other digests.
"""

from __future__ import annotations

import json
import random
import sys
import time
from contextlib import chdir, redirect_stdout, suppress
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import models

import sealpress

SEED = 2026
FIRST = datetime(2026, 10, 1, 6, tzinfo=UTC)
DAYS = 30
NAME = "Generated traffic of an example"
PERSONAL = "Please write to jane.doe@example.org about her visit."
QUESTIONS = (
    "Where is the ward for eye patients?",
    "Which form is needed for a transfer?",
    "When may visitors come on Sundays?",
    "How is a lost badge reported?",
)
SETTINGS = """
[override.approvers]
ann = "{ann}"
bob = "{bob}"

[policy.parameters.gdpr]
overrides = ["emergency"]
"""


class Clock:
    """What `time.time_ns` says here: a time of the month, and what has passed since it was set."""

    def __init__(self, at: datetime) -> None:
        self.set(at)

    def set(self, at: datetime) -> None:
        self._at, self._since = int(at.timestamp()) * 10**9, time.monotonic_ns()

    def now(self) -> int:
        return self._at + time.monotonic_ns() - self._since


def main(out: Path) -> None:
    source, clock, chance = models.provide(models.MINILM), Clock(FIRST), random.Random(SEED)  # noqa: S311 - it draws traffic and no keys
    time.time_ns = clock.now
    with TemporaryDirectory() as folder, chdir(folder):
        _sealpress("init", "box")
        keys = {name: _sealpress("override", "key", f"{name}.key")["approver"] for name in ("ann", "bob")}
        box = Path("box")
        settings = box / "sealpress.toml"
        text = settings.read_text("utf-8").replace('name = "box"', f'name = "{NAME}"')
        settings.write_text(text + SETTINGS.format(**keys), "utf-8")
        with chdir(box):
            _sealpress("compress", source, "--out", "minilm.bundle")
            model = sealpress.load("minilm.bundle")
            for day in range(DAYS):
                _day(clock, chance, FIRST + timedelta(days=day), model)
            clock.set(FIRST + timedelta(days=DAYS, hours=2))
            auditor = Path(folder) / "box-auditor" / "auditor.key"
            _sealpress("journal", "head", "--out", "kept.head")
            _sealpress("audit", "evidence", "--out", "evidence.zip", "--auditor-key", auditor)
            _reports(out)


def _day(clock: Clock, chance: random.Random, start: datetime, model: sealpress.Model) -> None:
    """The calls of a day, in order, and what is done on some days beside them."""
    at = start
    if start.day in (1, 8):
        for number in range(6):
            _sealpress("consent", "record", "--subject", f"patient-{start.day}-{number}", "--purpose", "search")
    for _ in range(chance.randint(10, 18) if start.weekday() < 5 else chance.randint(2, 5)):
        at += timedelta(seconds=chance.randint(60, 2400))
        clock.set(at)
        kind = chance.choices(("search", "personal", "nothing", "unlawful", "resale"), (60, 22, 6, 8, 4))[0]
        with suppress(sealpress.Denied):
            if kind == "search":
                model.embed(chance.choice(QUESTIONS), purpose="search")
            elif kind == "personal":
                who = f"patient-{8 if start.day > 8 else 1}-{chance.randrange(6)}"
                model.embed(PERSONAL, purpose="search", basis="consent", subject=who)
            elif kind == "nothing":
                model.embed(chance.choice(QUESTIONS))
            elif kind == "unlawful":
                model.embed(PERSONAL, purpose="search")
            else:
                model.embed(chance.choice(QUESTIONS), purpose="resale")
    clock.set(max(at, start + timedelta(hours=12)) + timedelta(minutes=1))
    if start.day == 16:
        _emergency(model)
    if start.day == 21:
        _sealpress("subject", "hold", "patient-8-3", "--ground", "A complaint is looked into.")
        _sealpress("subject", "erase", "patient-1-2", "--ground", "Asked for by letter.")


def _emergency(model: sealpress.Model) -> None:
    """Two persons open an override, a call is made under it, and they end it."""
    asked = _sealpress(
        "override", "ask", "--name", "emergency", "--reason", "A patient cannot be asked.", "--key", "../ann.key"
    )
    _sealpress("override", "approve", asked["id"], "--key", "../bob.key")
    with suppress(sealpress.Denied):
        model.embed(PERSONAL, purpose="search", override="emergency", subject="patient-16")
    _sealpress("override", "end", asked["id"])


def _reports(out: Path) -> None:
    """The evidence is checked as a stranger would, then every number of every report is counted again."""
    known = ("--head", "kept.head", "--evidence", "evidence.zip")
    for lang in ("en", "zh"):
        report = ("audit", "report", "--profile", "all", "--lang", lang, "--out", f"report-{lang}")
        _sealpress(*report, "--format", "html", "--format", "json", *known)
    written = [Path(f"report-{lang}") / f"report.{form}" for lang in ("en", "zh") for form in ("html", "json")]
    given = [part for path in written for part in ("--report", path)]
    found = _sealpress("audit", "verify", "evidence.zip", "--head", "kept.head", "--nonce", "seven blue cups", *given)
    sys.stdout.write(f"{json.dumps({name: found['counts'][name] for name in ('records', 'calls')})}\n")
    sys.stdout.write(f"evidence: {Path('evidence.zip').stat().st_size:,} bytes, unsigned: {found['unsigned']}\n")
    out.mkdir(parents=True, exist_ok=True)
    for path in written:
        if path.suffix == ".html" or path.parent.name == "report-en":
            (out / f"{path.parent.name}{path.suffix}").write_bytes(path.read_bytes())


def _sealpress(*arguments: str | Path) -> Any:
    """What the command says as JSON, in this process for the sake of its clock."""
    said = StringIO()
    try:
        with redirect_stdout(said):
            sealpress.main([*map(str, arguments), "--json"])
    except SystemExit as ended:
        if ended.code:
            raise RuntimeError(f"sealpress {arguments[0]} {arguments[1]} ended with {ended.code}") from None
    return json.loads(said.getvalue())


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
