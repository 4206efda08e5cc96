"""Where webhooks may go: over https, to addresses outside of the team's network, of which a name is resolved once.

A receiver's name is in the hands of others: it may stand for an address of ours, or for another one at each look. So the
address that was checked is the one that is connected to, while certificate, SNI and Host are those of the name; a redirect
is an answer like any other, and nothing of an answer but its status is read. No proxy of the environment is used.
Certificates are checked against the authorities of the system (`SSL_CERT_FILE` names others, as everywhere).
"""

import asyncio
import socket
import ssl
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import httpx

from store.settings import settings

Address = IPv4Address | IPv6Address
SECONDS = 10.0
"""For everything: name, connection, certificate, request and the head of the answer."""
NAT64 = IPv6Network("64:ff9b::/96")
"""Its last 32 bits are an address of IPv4 (RFC 6052, section 2.1)."""
SPECIAL = (IPv4Network("192.0.0.0/24"), IPv4Network("192.88.99.0/24"), IPv6Network("3fff::/20"))
"""Of the registries of special addresses (RFC 6890) what `ipaddress` does not know under every version of Python."""


class Refused(Exception):
    """The receiver stands where webhooks do not go."""


def checked(url: str) -> str:
    """The address of a receiver, as far as can be said without asking for its name. Raises `ValueError`."""
    try:
        found = httpx.URL(url)
        host = found.host
    except (httpx.InvalidURL, ValueError):  # whose messages quote what was given
        raise ValueError("is no address; one is https://receiver.example.org/path") from None
    if found.scheme != "https" or not host:
        raise ValueError("should be an address as https://receiver.example.org/path; only https is taken")
    if not 0 < (443 if found.port is None else found.port) < 65_536:
        raise ValueError("should have a port from 1 to 65535, or none")
    if found.userinfo or found.fragment or not url.isascii():
        raise ValueError("should be ASCII, without user, password and #fragment; put a key into the path or the query")
    if _literal(host) and not allowed(host):
        raise ValueError("should not name an address inside the network (SPARRING_WEBHOOK_NETWORKS says which may be)")
    return url


def _literal(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def allowed(text: str) -> bool:
    """Whether webhooks go to this address: it is anybody's on the internet, or in a network of the settings.

    An address of IPv6 that stands for one of IPv4 is judged as that one.
    """
    address = ip_address(text)
    address = _within(address) or address
    return any(address in network for network in settings().webhook_networks) or not _inside(address)


def _within(address: Address) -> IPv4Address | None:
    """The IPv4 address to which one of IPv6 leads: mapped, 6to4 or NAT64."""
    if isinstance(address, IPv4Address):
        return None
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour


def _inside(address: Address) -> bool:
    """Whether an address is not for everybody: private, loopback, link-local, multicast, reserved or unspecified."""
    special = address.is_private or address.is_multicast or address.is_reserved or address.is_unspecified
    local = address.is_loopback or address.is_link_local or getattr(address, "is_site_local", False)
    return special or local or not address.is_global or any(address in network for network in SPECIAL)


async def resolved(host: str, port: int) -> str:
    """The address of a host, looked up once; refused if any that it has is inside."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(one[4][0]) for one in found]
    if not addresses or not all(map(allowed, addresses)):
        raise Refused(f"{host} has an address inside the network, where webhooks do not go")
    return addresses[0]


async def post(url: str, body: bytes, headers: Mapping[str, str], trusted: ssl.SSLContext) -> int:
    """Send a body; returns the status of the answer. Raises `TimeoutError`, `Refused`, `OSError`, `httpx.HTTPError`."""
    async with asyncio.timeout(SECONDS):
        target = httpx.URL(url)
        host = target.raw_host.decode("ascii")
        there = target.copy_with(host=await resolved(host, target.port or 443))
        named = dict(headers) | {"Host": target.netloc.decode("ascii")}
        client = httpx.AsyncClient(
            verify=trusted,
            trust_env=False,
            follow_redirects=False,
            timeout=None,  # noqa: S113 (all of it together has its time)
        )
        request = client.build_request("POST", there, content=body, headers=named, extensions={"sni_hostname": host})
        async with client:
            answer = await client.send(request, stream=True)
            await answer.aclose()
            return answer.status_code
