"""Tariffs: what use is charged, as data; with preferential bands, such as for a rural clinic or a school.

A grant names its tariff by the SHA-256 of the file, so that nobody can change a price after it was agreed on.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from compliance.crypto import sha256
from compliance.state.grants.errors import GrantError
from compliance.state.grants.terms import Tariffed

__all__ = ["Band", "Tariff", "charged", "read_tariff"]

MAX_FILE = 65_536
_MOST = Decimal(10**9)

_Name = Annotated[str, Meta(min_length=1, max_length=256)]


class Band(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Prices, as decimal numbers in quotes, and in `about` for whom they are."""

    about: str = ""
    per_call: Decimal = Decimal(0)
    per_1000_tokens: Decimal = Decimal(0)
    per_cpu_hour: Decimal = Decimal(0)

    def __post_init__(self) -> None:
        for price in (self.per_call, self.per_1000_tokens, self.per_cpu_hour):
            if not price.is_finite() or not 0 <= price <= _MOST:
                raise ValueError("a price is a number from 0 to 1,000,000,000")


class Tariff(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The prices of one year or one agreement. `currency` is a code of ISO 4217."""

    format: Literal[1]
    name: _Name
    currency: Annotated[str, Meta(pattern=r"\A[A-Z]{3}\Z")]
    bands: Annotated[dict[_Name, Band], Meta(min_length=1)]


def read_tariff(file: bytes) -> tuple[Tariff, str]:
    """A tariff in TOML, and the SHA-256 of its file in hexadecimal. Raises GrantError: usage_grant_tariff."""
    try:
        if len(file) > MAX_FILE:
            raise ValueError(f"it is larger than {MAX_FILE} bytes")
        return msgspec.convert(tomllib.loads(file.decode()), Tariff), sha256(file).hex()
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError, ValueError) as error:
        raise GrantError("usage_grant_tariff", f"the tariff cannot be read: {str(error)[:200]}") from None


def charged(tariff: Tariff, agreed: Tariffed, used: Mapping[str, int]) -> Decimal:
    """What this use costs in the band that was agreed on, to the hundredth, half to even.

    `used` has calls, tokens and cpu_us. Raises GrantError: usage_grant_tariff for a band that there is not.
    """
    band = tariff.bands.get(agreed.band)
    if band is None:
        raise GrantError("usage_grant_tariff", f"the tariff {tariff.name} has no band {agreed.band[:80]!r}")
    amount = (
        band.per_call * used.get("calls", 0)
        + band.per_1000_tokens * used.get("tokens", 0) / 1000
        + band.per_cpu_hour * used.get("cpu_us", 0) / 3_600_000_000
    )
    return amount.quantize(Decimal("0.01"), ROUND_HALF_EVEN)
