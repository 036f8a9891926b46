# SPDX-License-Identifier: Apache-2.0
"""What the kernel's own programs do with a host of ours; run on clean and on bad cables."""

import hashlib
import json
import mailbox
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from .lab import CAPAS4, CAPAS6, Lab, Up, missing

PEERS = str(Path(__file__).with_name("peers.py"))
HOSTS = {4: CAPAS4, 6: CAPAS6}
MIB = 1 << 20


def pattern(size: int) -> bytes:
    """Bytes whose every block differs."""
    return random.Random(size).randbytes(size)


@dataclass
class Served:
    """A namespace, a host of ours in it, and what that host serves."""

    lab: Lab
    up: Up
    folder: Path
    bad: bool

    def url(self, family: int, path: str) -> str:
        host = HOSTS[family]
        return f"http://[{host}]{path}" if family == 6 else f"http://{host}{path}"

    def peer(self, role: str, *words: str, timeout: float = 100) -> str:
        return self.lab.run(sys.executable, PEERS, role, *words, timeout=timeout).stdout.strip()

    def need(self, *tools: str) -> None:
        why = missing(*tools)
        if why:
            pytest.skip(f"interop: {why}")


def serve(folder: Path, *words: str, tun: bool, bad: bool, mib: int) -> Iterator[Served]:
    """Everything on, from one directory."""
    www = folder / "www"
    www.mkdir()
    (www / "small").write_bytes(pattern(20_000))
    (www / "big").write_bytes(pattern(mib * MIB))
    services = [f"http:80={www}", f"smtp:25={folder / 'mail'}", "echo:7", "discard:9"]
    services += ["daytime:13", "chargen:19"]
    options = [word for service in services for word in ("--serve", service)]
    with Lab() as lab:
        up = lab.up(folder, *options, "--json", *words, tun=tun)
        yield Served(lab, up, folder, bad)
        assert up.stop() == 0, up.text()
        summary = json.loads(up.text().splitlines()[-1])
        assert summary["ok"], summary
        assert "Traceback" not in up.text(), up.text()


class Bodies:
    """Subclasses say how the host comes up."""

    TUN = False
    BAD = False
    MIB = 100
    WORDS: tuple[str, ...] = ()

    @pytest.fixture(scope="class", name="served")
    @staticmethod
    def _served(
        request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[Served]:
        how: type[Bodies] = request.cls
        folder = tmp_path_factory.mktemp("up")
        yield from serve(folder, *how.WORDS, tun=how.TUN, bad=how.BAD, mib=how.MIB)

    @pytest.mark.parametrize("family", [4, 6])
    @pytest.mark.parametrize("size", [56, 4000])
    def test_ping(self, served: Served, family: int, size: int) -> None:
        served.need("ping")
        count = 30 if served.bad else 5
        out = served.lab.run(  # with -w it goes on until so many are answered
            "ping", "-c", str(count), "-w", "50", "-i", "0.02", "-s", str(size), HOSTS[family]
        ).stdout
        sent, received = (int(word) for word in re.findall(r"(\d+) (?:packets|received)", out))
        assert received >= count and sent <= (2 * count if served.bad else sent), out

    @pytest.mark.parametrize("family", [4, 6])
    @pytest.mark.parametrize("how", ["-U", "-I"])
    def test_traceroute(self, served: Served, family: int, how: str) -> None:
        served.need("traceroute")
        flag = [] if how == "-U" else [how]
        host = HOSTS[family]
        out = served.lab.run("traceroute", "-n", f"-{family}", "-q", "6", *flag, host).stdout
        last = out.splitlines()[-1]
        assert host in last and (served.bad or last.split()[0] == "1"), out

    @pytest.mark.parametrize("family", [4, 6])
    def test_a_closed_port_is_refused_at_once(self, served: Served, family: int) -> None:
        served.need("nc")
        assert served.peer("refused", HOSTS[family], "4242") == "ok" or served.bad
        done = served.lab.run("nc", "-v", "-w", "20", HOSTS[family], "4242", check=False, input="")
        assert done.returncode == 1 and "refused" in done.stderr, done.stderr

    def test_curl_gets_and_posts_hash_for_hash(self, served: Served) -> None:
        """Both families and both directions at once; nothing lost, nothing altered."""
        served.need("curl")
        big = served.folder / "www" / "big"
        wanted = digest(big)
        curl = ("curl", "-sSfg", "-m", "280")
        gets: dict[Path, subprocess.Popen[bytes]] = {}
        posts: list[subprocess.Popen[bytes]] = []
        for family in (4, 6):
            target = served.folder / f"got{family}"
            gets[target] = served.lab.start(
                *curl, "-o", str(target), served.url(family, "/big"), stderr=subprocess.PIPE
            )
            posts.append(
                served.lab.start(
                    *curl, "-T", str(big), "-X", "POST", served.url(family, "/"),
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                )
            )  # fmt: skip
        for post in posts:
            out, errors = post.communicate(timeout=290)
            assert post.returncode == 0, errors
            assert json.loads(out) == {"length": big.stat().st_size, "sha256": wanted}
        for target, get in gets.items():
            _, errors = get.communicate(timeout=290)
            assert get.returncode == 0, errors
            assert digest(target) == wanted

    @pytest.mark.parametrize("family", [4, 6])
    def test_200_connections_at_once(self, served: Served, family: int) -> None:
        wanted = hashlib.sha256(pattern(20_000)).hexdigest()
        assert served.peer("concurrent", HOSTS[family], "/small", "200", wanted) == "ok 200"
        assert served.peer("held", HOSTS[family], "200") == "ok 200"

    @pytest.mark.parametrize("family", [4, 6])
    def test_small_services(self, served: Served, family: int) -> None:
        assert served.peer("small", HOSTS[family]) == "ok"

    @pytest.mark.parametrize("family", [4, 6])
    def test_mail_by_smtplib_and_curl(self, served: Served, family: int) -> None:
        served.need("curl")
        before = len(mailbox.Maildir(served.folder / "mail"))
        assert served.peer("mail", HOSTS[family], "200000", "b@example.org") == "ok"
        letter = served.folder / "letter"
        letter.write_text("Subject: by curl\r\n\r\nhello\r\n")
        host = HOSTS[family] if family == 4 else f"[{HOSTS[family]}]"
        served.lab.run(
            "curl", "-sSg", f"smtp://{host}/example.org", "--mail-from", "a@example.org",
            "--mail-rcpt", "c@example.org", "-T", str(letter), timeout=110,
        )  # fmt: skip
        box = mailbox.Maildir(served.folder / "mail")
        assert len(box) == before + 2
        assert {"by curl", "interop"} <= {str(message["subject"]) for message in box}

    @pytest.mark.parametrize("family", [4, 6])
    def test_netcat_pipes_through_echo(self, served: Served, family: int) -> None:
        served.need("nc")
        text = "".join(f"line {i}\n" for i in range(20_000))
        out = served.lab.run("nc", "-N", HOSTS[family], "7", input=text, timeout=60).stdout
        assert out == text


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
