"""Chromium without a window, and what verify.html says in it about evidence: fixtures are in tests/e2e/conftest.py."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import time
from pathlib import Path
from typing import Any

__all__ = ["BYTES", "PAGE", "Browser", "ask_evidence", "press", "refusals"]

PAGE = Path(__file__).resolve().parents[1] / "compliance" / "page" / "verify.html"
# Runtime.evaluate takes text only, so bytes travel as base64
BYTES = (
    "const bytes = (text) => text === null ? undefined : Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));"
)


class Browser:
    """Chromium without a window, driven over its debugging pipe, with the page open."""

    def __init__(self, command: str, profile: Path) -> None:
        switches = [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", "--remote-debugging-pipe", f"--user-data-dir={profile}",
        ]  # fmt: skip
        down, up = os.pipe(), os.pipe()
        # Chromium reads from 3 and writes to 4, so its ends must not stand there already
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (down[0], up[1])]
        actions = [(os.POSIX_SPAWN_DUP2, end, number) for end, number in zip(ends, (3, 4), strict=True)]
        quiet = (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)
        self._process = os.posix_spawn(command, [command, *switches], os.environ, file_actions=[*actions, quiet])
        for end in (*ends, down[0], up[1]):
            os.close(end)
        self._write, self._read, self._rest, self._number = down[1], up[0], b"", 0
        self._session: str | None = None

    def send(self, method: str, **parameters: object) -> dict[str, Any]:
        """One command of the DevTools protocol and its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        content = json.dumps(message).encode() + b"\0"
        while content:
            content = content[os.write(self._write, content) :]
        while (answer := self._receive()).get("id") != self._number:
            pass
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            assert select.select([self._read], [], [], 60)[0], "the browser is silent"
            lot = os.read(self._read, 1 << 20)
            assert lot, "the browser went away"
            self._rest += lot
        content, self._rest = self._rest.split(b"\0", 1)
        message: dict[str, Any] = json.loads(content)
        return message

    def open(self, address: str) -> None:
        self._session = None
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.send("Page.navigate", url=address)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, expression: str) -> Any:
        """The value of an expression in the page, once it is there."""
        found = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, expression: str) -> None:
        end = time.monotonic() + 60
        while not self.run(expression):
            assert time.monotonic() < end, expression
            time.sleep(0.02)

    def pick(self, selector: str, *paths: Path) -> None:
        """Choose files as a person does in the window of the system."""
        document = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=document, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in paths])
        # a folder is listed by another process
        self.until(f"document.querySelector('{selector}').files.length")

    def close(self) -> None:
        self._session = None
        self.send("Browser.close")
        os.close(self._write)
        os.waitpid(self._process, 0)
        os.close(self._read)


def press(page: Browser, button: str, root: str) -> str:
    """Fill in the root, press a button, and read the answer."""
    page.run(f"document.querySelector('#root').value = {json.dumps(root)}")
    page.run(f"document.querySelector('{button}').click()")
    page.until(f"!document.querySelector('{button}').disabled")
    return str(page.run("['#status', '#answer'].map((part) => document.querySelector(part).innerText).join(' ')"))


def ask_evidence(browser: Browser, *asked: dict[str, Any]) -> list[Any]:
    """What the page says about each evidence, with the counts as an object; what is asked is as it takes it."""
    # an input that takes many files: what is read there does not travel as text
    browser.pick("#authorities", *(one["evidence"] for one in asked))
    known = [
        {
            name: base64.b64encode(value).decode() if isinstance(value, bytes) else value
            for name, value in one.items()
            if name != "evidence"
        }
        for one in asked
    ]
    found: list[Any] = browser.run(
        f"(async (asked) => {{ {BYTES} const [found, {{files}}] = [[], document.querySelector('#authorities')];"
        "for (const [number, {head, authorities, ...known}] of asked.entries()) {"
        "const given = {head: head && bytes(head), authorities: authorities && bytes(authorities)};"
        "const {counts, ...one} = await window.sealpressEvidence({...known, ...given, evidence: files[number]});"
        "const plain = ([name, numbers]) => [name, Object.fromEntries(numbers)];"
        "found.push({...one, counts: counts && Object.fromEntries(Object.entries(counts).map(plain))});"
        f"}} return found; }})({json.dumps(known)})"
    )
    assert browser.run("document.querySelector('#authorities').files.length") == len(asked)
    return found


def refusals(answer: Any) -> list[str]:
    return [f"{failure['place']} {failure['code']}" for failure in answer["failures"]]
