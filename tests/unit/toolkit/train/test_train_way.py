"""By which address and interface hosts find each other, as the kernel of this machine and names say it."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from toolkit.train.errors import TrainingHalted
from toolkit.train.way import way_to


def refused(meet: str) -> str:
    with pytest.raises(TrainingHalted) as error:
        way_to(meet)
    assert error.value.code == "train_link"
    return str(error.value)


def named(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Let every name stand for these addresses."""

    def found(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", (address, port)) for address in addresses]

    monkeypatch.setattr("toolkit.train.way.socket.getaddrinfo", found)


@pytest.mark.parametrize("meet", ["127.0.0.1:29401", "localhost:29401"])
def test_hosts_on_one_machine_meet_where_it_is_alone(meet: str) -> None:
    way = way_to(meet)
    assert way.endpoint.endswith(":29401")
    assert way.address in ("127.0.0.1", "::1")
    assert way.interface == "lo"


def test_the_port_may_be_left_away() -> None:
    assert way_to("127.0.0.1").endpoint == "127.0.0.1:29400"


@pytest.mark.parametrize(
    "meet", ["", ":29400", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:x", "[]:1"]
)
def test_what_is_no_place_is_refused(meet: str) -> None:
    assert "is not HOST:PORT" in refused(meet)


@pytest.mark.parametrize("host", ["a\0b", "a" * 300, "\ud800", "-.-"])
def test_what_is_no_name_is_refused(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if host == "-.-":

        def none(*_: Any, **__: Any) -> None:
            raise socket.gaierror(-2, "Name or service not known")

        monkeypatch.setattr("toolkit.train.way.socket.getaddrinfo", none)
    assert "names no host" in refused(f"{host}:29400")


def test_a_name_that_stands_for_this_machine_alone_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    named(monkeypatch, "127.0.1.1")
    assert "give its address" in refused("host-0:29400")


def test_of_several_addresses_one_is_taken_that_others_may_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    named(monkeypatch, "127.0.1.1", "255.255.255.255")
    # to all at once no way leads for those who did not ask for one
    assert "no way leads from here" in refused("host-0:29400")
