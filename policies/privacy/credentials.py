"""Credentials: keys of clouds and services, private keys, tokens, and passwords in addresses and settings.

Forms are those that the issuers publish or that their own scanners look for; each begins with something that no other
text begins with.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from policies.privacy.context import Candidate, Context

__all__ = ["NEEDLES", "begun", "find"]


def find(context: Context) -> Iterator[Candidate]:
    """The credentials."""
    text, lowered = context.text, context.lowered
    for sign, issued in _ISSUED.items():
        if sign in text:
            for needle, form in issued:
                if needle in text:
                    for match in form.finditer(text):
                        yield match.start(), match.end(), "credential", 0.95
    if "://" in text:
        for match in _URL.finditer(text):
            yield match.start(1), match.end(1), "credential", 0.4 if _PLACEHOLDER.fullmatch(match["secret"]) else 0.9
    if (":" in text or "=" in text) and any(map(lowered.__contains__, _NAMES)):
        for name in _ASSIGNED.finditer(lowered):
            start, end = name.span("secret")
            secret = text[start:end]
            if _MIXED.match(secret) and not _PLACEHOLDER.fullmatch(secret):
                yield start, end, "credential", 0.7


def begun(text: str) -> Iterator[int]:
    """Where something begins that goes on to the end of the text, and may be a credential with more of it: of those
    that may be thousands of characters long."""
    return (match.start() for match in _BEGUN.finditer(text))


_RIGHT = "(?![0-9A-Za-z_-])"
_BASE = "[0-9A-Za-z_-]"


def _issued(needle: str, form: str, first: str = "") -> tuple[str, re.Pattern[str]]:
    """What stands alone and begins with the needle, to which the search can skip, or with one more character."""
    return needle, re.compile(f"{first}{re.escape(needle)}(?<!{_BASE}{first}{re.escape(needle)}){form}{_RIGHT}")


# By a sign that all of a form hold, and few texts. The secret is what counts: identifiers of keys alone (AKIA...) are
# told too, since they stand beside their secrets.
_ISSUED = {
    "": (
        _issued("AKIA", "[A-Z2-7]{16}"),  # Amazon Web Services
        _issued("ASIA", "[A-Z2-7]{16}"),
        _issued("AIza", f"{_BASE}{{35}}"),  # Google
        _issued("LTAI", "[0-9A-Za-z]{12,20}"),  # Alibaba Cloud
        _issued("AKID", "[0-9A-Za-z]{32}"),  # Tencent Cloud
    ),
    "=": (_issued("AccountKey=", "[0-9A-Za-z+/]{86}=="),),  # Microsoft Azure
    "_": (
        *(_issued(f"gh{kind}_", "[0-9A-Za-z]{36,255}") for kind in "pousr"),  # GitHub
        _issued("github_pat_", "[0-9A-Za-z_]{22,255}"),
        _issued("k_live_", "[0-9A-Za-z]{16,250}", first="[rs]"),  # Stripe
        _issued("hf_", "[0-9A-Za-z]{30,40}"),  # Hugging Face
        _issued("npm_", "[0-9A-Za-z]{36}"),
        _issued("dop_v1_", "[0-9a-f]{64}"),  # DigitalOcean
    ),
    "-": (
        _issued("glpat-", f"{_BASE}{{20,64}}"),  # GitLab
        _issued("xox", "[abeoprs]-[0-9A-Za-z-]{10,250}"),  # Slack
        _issued("sk-", f"(?:{_BASE}{{1,16}}-)?[0-9A-Za-z_]{{20,200}}(?:-{_BASE}{{1,100}})?"),  # OpenAI, Anthropic
        _issued("pypi-", f"{_BASE}{{50,250}}"),
        _issued("AGE-SECRET-KEY-1", "[0-9A-Z]{58}"),
        # PEM (RFC 7468): the key as a whole, or its head where the end is missing
        (
            "PRIVATE KEY",
            re.compile(
                r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY(?: BLOCK)?-----"
                r"(?:[^-]{0,8000}-----END [A-Z ]{0,20}PRIVATE KEY(?: BLOCK)?-----)?"
            ),
        ),
    ),
    ".": (
        _issued("ya29.", f"{_BASE}{{20,400}}"),  # Google
        _issued("SG.", f"{_BASE}{{22}}\\.{_BASE}{{43}}"),  # SendGrid
        # a JSON Web Token: the base64 of {" twice (RFC 7519)
        _issued("eyJ", f"{_BASE}{{8,1000}}\\.eyJ{_BASE}{{2,4000}}\\.{_BASE}{{0,1000}}"),
    ),
}
# what each of them holds
NEEDLES = tuple(needle for issued in _ISSUED.values() for needle, _ in issued)
# a token of the Web, and a key in PEM
_BEGUN = re.compile(
    rf"eyJ(?<!{_BASE}eyJ){_BASE}{{8,1000}}(?:\.(?:eyJ{_BASE}{{0,4000}}(?:\.{_BASE}{{0,1000}})?)?)?\Z"
    r"|-----BEGIN [A-Z ]{0,20}PRIVATE KEY(?: BLOCK)?-----[0-9A-Za-z+/=\s]{0,8000}-{0,5}\Z"
)
# from the mark on, to which the search can skip
_URL = re.compile(r"://(?<=[0-9A-Za-z+.-]{2}://)[^\s/:@\"'<>]{0,64}:(?P<secret>[^\s/@\"'<>]{1,128})@")
_NAMES = ("passw", "pwd", "contrase", "mot de", "secret", "api", "access", "auth", "密码")
_ASSIGNED = re.compile(
    r"(?:passw(?:or)?d|passwort|passwd|pwd|contrase\u00f1a|mot de passe|secret|api[_-]?key|access[_-]?key"
    r"|auth[_-]?token|密码)"
    r"[\"']?[ ]{0,2}[:=][ ]{0,2}[\"']?(?P<secret>[^\s\"',;(){}\[\]<>]{8,128})"
)
_MIXED = re.compile(r"(?=[^0-9]{0,127}[0-9])(?=[^A-Za-z]{0,127}[A-Za-z])(?![^\s.]{1,40}\.[A-Za-z_.]{1,80}\Z)")
# what stands where a password would: nobody's
_PLACEHOLDER = re.compile(
    r"(?:pass(?:word|wd)?|pwd|pw|secret|token|x+|\*+|\.+|\u2588+|\$.*|%.*|your.*|my.*|example.*|changeme)[0-9]{0,4}",
    re.IGNORECASE,
)
