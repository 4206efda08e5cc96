"""Where webhooks go and where not: addresses, names that change, certificates, redirects, answers without end."""

import json
import ssl
import time
from pathlib import Path
from typing import Any

import pytest

from api import receivers
from receiver import HOST, aside, receiving
from store.settings import settings

INSIDE = [
    "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "127.0.0.1", "127.9.9.9", "0.0.0.0", "0.1.2.3",
    "169.254.169.254", "100.64.0.1", "192.0.0.8", "192.0.0.170", "192.88.99.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1",
    "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "::", "::1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd12:3456::1", "ff02::1", "ff0e::1", "2001:db8::1",
    "2001::1", "100::1", "3fff::1", "5f00::1", "::127.0.0.1", "64:ff9b:1::1", "4000::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe", "2002:7f00:1::", "2002:a00:1::1", "2002:c0a8:101::1",
    "64:ff9b::7f00:1", "64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254", "::ffff:224.0.0.1", "2002:e000:1::",
]  # fmt: skip
OUTSIDE = [
    "1.1.1.1", "8.8.8.8", "172.15.0.1", "172.32.0.1", "192.167.255.255", "100.63.255.255", "100.128.0.1", "223.255.255.255",
    "2606:4700::1111", "2a00:1450::8a", "::ffff:8.8.8.8", "2002:808:808::1", "64:ff9b::8.8.8.8",
]  # fmt: skip


def post(port: int, path: str = "/", host: str = HOST) -> int:
    url = f"https://{host}:{port}{path}"
    return aside(receivers.post(url, b"{}", {"Sparring-Event": "test"}, ssl.create_default_context()))


# ---- addresses


@pytest.mark.parametrize("address", INSIDE)
def test_no_webhook_goes_to_an_address_inside(inside, address: str) -> None:
    assert not receivers.allowed(address)


@pytest.mark.parametrize("address", OUTSIDE)
def test_a_webhook_goes_to_anybodys_address(inside, address: str) -> None:
    assert receivers.allowed(address)


def test_networks_of_the_settings_may_be_told_and_no_others(inside) -> None:
    inside("10.1.7.0/24, fd00:7::/64")
    for address in ("10.1.7.1", "::ffff:10.1.7.1", "64:ff9b::10.1.7.1", "fd00:7::1"):
        assert receivers.allowed(address), address
    for address in ("10.1.8.1", "127.0.0.1", "fd00:8::1", "::1"):
        assert not receivers.allowed(address), address


@pytest.mark.parametrize("networks", ["10.1.7.1/24", "all", "10.0.0.0/33"])
def test_a_setting_that_is_no_network_is_refused(inside, networks: str) -> None:
    inside(networks)
    with pytest.raises(ValueError, match="webhook_networks"):
        settings()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://receiver.example.org/", "only https"),
        ("ftp://receiver.example.org/", "only https"),
        ("https:///path", "should be"),
        ("receiver.example.org", "only https"),
        ("//receiver.example.org/", "only https"),
        ("https://ada:secret@receiver.example.org/", "without user"),
        ("https://receiver.example.org/#part", "#fragment"),
        ("https://receiver.example.org/\u00e4", "ASCII"),
        ("https://receiver.example.org:99999/", "port"),
        ("https://receiver.example.org:0/", "port"),
        ("https://receiver.example.org:secret/", "is no address"),
        ("https://user:secret/x@receiver.example.org/", "is no address"),
        ("https://xn--secret-/", "is no address"),
        ("https://127.0.0.1/", "inside"),
        ("https://[::1]:8443/", "inside"),
        ("https://[::ffff:10.0.0.1]/", "inside"),
        ("https://169.254.169.254/latest", "inside"),
        ("https://", "should be"),
    ],
)
def test_an_address_that_no_webhook_can_have_is_refused_in_words(api, inside, url: str, says: str) -> None:
    answer = api.post("/api/v1/webhooks", json={"url": url})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/url")
    assert says in answer.json()["detail"]
    assert "secret" not in answer.text


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "localhost", "0"])
def test_a_name_in_disguise_is_judged_by_the_address_that_it_stands_for(inside, receiver, host: str) -> None:
    with pytest.raises(receivers.Refused, match="inside the network"):
        post(receiver.port, host=host)
    assert receiver.connections == 0


# ---- names


def test_the_address_that_was_checked_is_connected_to_with_the_names_of_the_receiver(
    inside, receiver, looked_up
) -> None:
    inside("127.0.0.1/32")
    asked = looked_up({HOST: [["127.0.0.1"]]})
    assert post(receiver.port, "/hook?key=1") == 204
    (got,) = receiver.got
    assert (got.path, got.sni, got.headers["Host"]) == ("/hook?key=1", HOST, f"{HOST}:{receiver.port}")
    assert asked == [HOST]


def test_a_name_that_stands_for_another_address_at_its_second_look_gains_nothing(
    inside, tmp_path: Path, receiver, looked_up
) -> None:
    inside("127.0.0.1/32")
    with receiving(tmp_path, "127.0.0.2", receiver.port) as ours:
        asked = looked_up({HOST: [["127.0.0.1"], ["127.0.0.2"]]})
        assert post(receiver.port) == 204
        assert (asked, len(receiver.got), ours.connections) == ([HOST], 1, 0)
        with pytest.raises(receivers.Refused, match="inside the network"):
            post(receiver.port)
        assert (len(receiver.got), ours.connections) == (1, 0)


def test_a_name_with_one_address_inside_is_refused_whatever_the_others_are(inside, receiver, looked_up) -> None:
    inside("127.0.0.1/32")
    looked_up({HOST: [["127.0.0.1", "10.0.0.1"]]})
    with pytest.raises(receivers.Refused, match="inside the network") as caught:
        post(receiver.port)
    assert "10.0.0.1" not in str(caught.value), "what a name inside stands for is not told"
    assert receiver.connections == 0


# ---- certificates


def test_a_certificate_of_another_name_is_refused(inside, receiver, looked_up) -> None:
    inside("127.0.0.1/32")
    looked_up({"other.example.org": [["127.0.0.1"]]})
    with pytest.raises(Exception, match="not valid for 'other.example.org'"):
        post(receiver.port, host="other.example.org")
    assert receiver.got == []


def test_a_certificate_for_the_name_does_not_do_for_the_bare_address(inside, receiver) -> None:
    inside("127.0.0.1/32")
    with pytest.raises(Exception, match="IP address mismatch"):
        post(receiver.port, host="127.0.0.1")
    assert receiver.got == []


def test_a_certificate_of_an_authority_that_nobody_trusts_is_refused(inside, receiver, looked_up, monkeypatch) -> None:
    inside("127.0.0.1/32")
    monkeypatch.delenv("SSL_CERT_FILE")
    looked_up({HOST: [["127.0.0.1"]]})
    with pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"):
        post(receiver.port)
    assert receiver.got == []


# ---- answers


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(inside, receiver, looked_up, status: int) -> None:
    inside("127.0.0.1/32")
    looked_up({HOST: [["127.0.0.1"]]})
    receiver.statuses = [status, 200]
    assert post(receiver.port) == status
    assert [one.path for one in receiver.got] == ["/"]


def test_an_answer_that_drips_ends_with_the_time_that_there_is(inside, receiver, looked_up, monkeypatch) -> None:
    inside("127.0.0.1/32")
    looked_up({HOST: [["127.0.0.1"]]})
    monkeypatch.setattr(receivers, "SECONDS", 1.0)
    receiver.statuses = [None]
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        post(receiver.port)
    assert 0.9 < time.monotonic() - began < 5


def test_no_proxy_of_the_environment_is_asked(inside, receiver, looked_up, monkeypatch) -> None:
    inside("127.0.0.1/32")
    looked_up({HOST: [["127.0.0.1"]]})
    for name in ("HTTPS_PROXY", "ALL_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert post(receiver.port) == 204


def test_of_an_answer_without_end_nothing_is_read(inside, receiver, looked_up) -> None:
    inside("127.0.0.1/32")
    looked_up({HOST: [["127.0.0.1"]]})
    written: list[int] = []

    def flood(handler: Any) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")
        try:
            while len(written) < 1000:
                handler.wfile.write(b"x" * 100_000)
                written.append(1)
        except OSError:
            return

    receiver._answer = flood
    assert post(receiver.port) == 200
    time.sleep(0.5)
    assert len(written) < 200, "what the buffers of the connection hold, and no more"
    assert json.loads(receiver.got[0].body) == {}
