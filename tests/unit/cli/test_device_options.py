# SPDX-License-Identifier: Apache-2.0
"""Command lines that cannot be, told before any device is touched."""

import json
import socket
import ssl
from pathlib import Path

import pytest

from capas.cli import up
from capas.cli.main import main
from capas.cli.nc import _target
from capas.cli.options import os_text, reason
from capas.cli.ping import Tally

UP = ("up", "--tap", "capas0", "--address", "10.99.0.2/24")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("up", "--address", "10.0.0.1/24"), "--tap NAME or --tun NAME"),
        (("up", "--tap", "a", "--tun", "b", "--address", "10.0.0.1/24"), "either"),
        (("up", "--tap", "t0"), "--address"),
        (("up", "--tap", "t0", "--address", "10.0.0.1"), "10.0.0.1/24"),
        (("up", "--tap", "t0", "--address", "fd00::1"), "fd00::1/64"),
        (("up", "--tap", "t0", "--address", "10.0.0.300/24"), "10.0.0.300"),
        (("up", "--tap", "t0", "--address", "10.0.0.1/33"), "0 to 32"),
        (("up", "--tap", "t0", "--address", "224.0.0.9/24"), "one host"),
        (("up", "--tap", "t0", "--address", "ff02::9/64"), "one host"),
        (("up", "--tap", "t0", "--address", "::/64"), "one host"),
        (("up", "--tap", "t0", "--address", "255.255.255.255/32"), "one host"),
        ((*UP, "--gateway", "nowhere"), "nowhere"),
        ((*UP, "--serve", "gopher:70"), "there are http"),
        ((*UP, "--serve", "http:80"), "http:80=DIRECTORY"),
        ((*UP, "--serve", "http:80=/no/such/directory"), "not a directory"),
        ((*UP, "--serve", "echo:99999"), "1 to 65535"),
        ((*UP, "--serve", "echo:7=x"), "nothing after"),
        ((*UP, "--loss", "200%"), "probability"),
        ((*UP, "--loss", "nan"), "probability"),
        ((*UP, "--delay", "soon"), "20ms"),
        ((*UP, "--rate", "fast"), "10Mbit"),
        ((*UP, "--mac", "01:00:00:00:00:01"), "group address"),
        ((*UP, "--mac", "zz"), "MAC address"),
        ((*UP, "--mtu", "0"), "range"),
        (("ping", "--tap", "t0", "--address", "10.0.0.1/24"), "TARGET"),
        (("get", "--tap", "t0", "--address", "10.0.0.1/24", "ftp://x/"), "not a URL"),
        (("get", "--tap", "t0", "--address", "10.0.0.1/24", "http://[::1/"), "not a URL"),
        (("get", "--tap", "t0", "--address", "10.0.0.1/24", "http://x:99999/"), "not a URL"),
        (("get", "--tap", "t0", "--address", "10.0.0.1/24", "x", "-d", "@/none"), "no file"),
        (("nc", "--tap", "t0", "--address", "10.0.0.1/24", "x"), "HOST and PORT"),
        (("nc", "--tap", "t0", "--address", "10.0.0.1/24", "x", "noport"), "well-known"),
        (("dig", "--tap", "t0", "--address", "10.0.0.1/24", "x", "WHAT"), "record type"),
        (("mail", "--tap", "t0", "--address", "10.0.0.1/24", "--server", "a:b", "x"), "HOST:PORT"),
    ],
)
def test_wrong_usage(words: tuple[str, ...], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    told = capsys.readouterr().err
    assert text in told.replace("\n", " "), told


@pytest.mark.parametrize("command", ["up", "ping", "traceroute", "get", "nc", "mail", "dig"])
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main((command, "--help")) == 0
    told = capsys.readouterr().out
    assert "--tap" in told and "--address" in told and "--json" in told


def test_a_device_name_that_cannot_be(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("up", "--tap", "x" * 16, "--address", "10.0.0.1/24")
    assert main(words) == 1
    assert "1 to 15 characters" in capsys.readouterr().err
    assert main((*words, "--json")) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False


def test_services_and_targets() -> None:
    assert set(up.SERVICES) >= {"http", "smtp", "echo", "discard", "daytime", "chargen"}
    assert _target(("10.0.0.1", "http"), False, False) == ("10.0.0.1", 80)
    assert _target(("5000",), True, True) == (None, 5000)


def test_rtt_as_ping_computes_it() -> None:
    tally = Tally(times=[1_000_000, 2_000_000, 3_000_000])
    rtt = tally.rtt()
    assert rtt is not None and (rtt["min"], rtt["avg"], rtt["max"]) == (1, 2, 3)
    assert abs(rtt["mdev"] - (2 / 3) ** 0.5) < 1e-9
    assert Tally().rtt() is None


def test_a_failed_look_up_is_told_in_words() -> None:
    assert os_text(socket.gaierror(socket.EAI_NONAME, "Name or service not known")) == (
        "Name or service not known"
    )


PEM = Path(__file__).parents[1] / "aio" / "tls_test.pem"


def shake_hands(answer: bytes | None) -> ssl.SSLError:
    """Why OpenSSL gives up; the server says ``answer``, or None: has a certificate of its own."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(back, there, server_hostname="localhost")
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.load_cert_chain(PEM)
    server = own.wrap_bio(there, back, server_side=True)
    while True:
        for end in (client, server):
            try:
                if end is server and answer is not None:
                    back.write(answer)
                else:
                    end.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as error:
                return error


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "certificate verify failed: self-signed certificate"),
        (b"HTTP/1.0 400 Bad Request\r\n\r\n", ": is it TLS?"),
    ],
)
def test_a_failure_of_tls_is_told_in_openssls_words(answer: bytes | None, said: str) -> None:
    """Its errno is none: 1 is not EPERM."""
    error = shake_hands(answer)
    assert error.errno == 1
    wrapped = RuntimeError("connect failed")
    wrapped.__cause__ = error
    assert said in os_text(error)
    assert reason(wrapped) == os_text(error)
    assert os_text(ssl.SSLError(1, "handshake failure")) == "handshake failure"
