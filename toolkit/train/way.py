"""By which address and interface of this host the others reach it: those of the way to where all meet.

Left alone, torchrun and gloo hand out what the host's own name stands for, which is this machine alone on many, and a
network that the others are not in on hosts with several.
"""

from __future__ import annotations

import fcntl
import socket
import struct
from collections.abc import Iterator
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path

from msgspec import Struct

from toolkit.train.errors import TrainingHalted

__all__ = ["Way", "way_to"]

PORT = 29400  # of the first host, where none is named
NEAR = ("localhost", "localhost.localdomain")
SIOCGIFADDR = 0x8915  # netdevice(7): the first IPv4 address of an interface
INTERFACES = Path("/proc/net/if_inet6")  # address, number, length, scope, flags and name of each of IPv6


class Way(Struct, frozen=True, kw_only=True):
    """The endpoint where all meet, and of this host the `address` on the way there and the name of its `interface`,
    nothing where that is not to be found."""

    host: str
    port: int
    address: str
    interface: str

    @property
    def endpoint(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def way_to(meet: str) -> Way:
    """The way to HOST:PORT, [IPV6]:PORT or HOST. Nothing is sent.

    Raises TrainingHalted "train_link" for a name that stands for no host, or for this machine alone, and where no way
    leads there.
    """
    host, port = _parts(meet)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        raise TrainingHalted("train_link", f"{host} names no host: {error}") from None
    literal = host in {str(place[0]) for *_, place in found}
    far = [one for one in found if not _loopback(str(one[4][0]))]
    if not far and not literal and host not in NEAR:
        # as Debian writes it into /etc/hosts: others would be told to look for host 0 on their own machines
        told = f"{host} stands for {found[0][4][0]} here, where no other host finds this one; give its address"
        raise TrainingHalted("train_link", told)
    family, kind, protocol, _, place = (far or found)[0]
    try:
        with closing(socket.socket(family, kind, protocol)) as asked:
            asked.connect(place)  # of datagrams: the kernel looks up the way, and sends none
            address = str(asked.getsockname()[0])
    except OSError as error:
        raise TrainingHalted("train_link", f"no way leads from here to {host}: {error.strerror}") from None
    return Way(host=str(place[0]), port=port, address=address, interface=_interface(address))


def _parts(meet: str) -> tuple[str, int]:
    host, colon, port = meet.rpartition(":")
    if not colon or meet.endswith("]"):
        host, port = meet, ""
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (port or str(PORT)).isdecimal() or not 0 < int(port or PORT) < 65_536:
        raise TrainingHalted("train_link", f"{meet!r} is not HOST:PORT")
    return host, int(port or PORT)


def _loopback(address: str) -> bool:
    return ip_address(address.partition("%")[0]).is_loopback


def _interface(address: str) -> str:
    alone = address.partition("%")[0]
    return next((name for name, held in _held() if held == alone), "")


def _held() -> Iterator[tuple[str, str]]:
    """The interfaces of this host, each with an address."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as asked:
        for _, name in socket.if_nameindex():
            try:
                given = fcntl.ioctl(asked, SIOCGIFADDR, struct.pack("16s24x", name.encode()))
            except OSError:
                continue  # it has none
            yield name, socket.inet_ntoa(given[20:24])
    lines = INTERFACES.read_text().splitlines() if INTERFACES.exists() else ()
    for line in lines:
        digits, *_, name = line.split()
        yield name, str(ip_address(bytes.fromhex(digits)))
