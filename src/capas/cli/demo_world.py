# SPDX-License-Identifier: Apache-2.0
"""The internet of ``capas demo``, and what its programs do.

    client ══ slow, lossy ══ r1 ── r2 ── lan ─┬─ web   http 80
                                              ├─ mail  smtp 25
                                              └─ dns   domain 53

The client's programs are httpx and aiosmtplib as they come from the package index; nothing in them
knows where they run.  Each step returns plain data; `Story.told` hears of it as it happens.
"""

import asyncio
import hashlib
from collections.abc import Callable
from email.message import EmailMessage
from email.utils import formatdate
from typing import Any, Final

import aiosmtplib
import httpx

from capas.aio.run import run_on, spawn
from capas.application import diagnostics, mail, names, web
from capas.application.resolver import StubResolver
from capas.base.clock import SECOND
from capas.cli.observe import Recorder
from capas.host.host import Host
from capas.link.link import Medium
from capas.sim.capture import WorldCapture
from capas.sim.units import Chance, Rate, Time, time_ns
from capas.sim.world import World
from capas.wire.address import is_link_local, text

DOMAIN: Final = "capas.test"
PAGE: Final = 1 << 20  # bytes of the web page
ATTACHMENT: Final = 200 << 10  # bytes of the mail's attachment
PINGS: Final = 4
PATIENCE: Final = 3600.0  # s of virtual time until a client gives up: they cost nothing


class Story:
    """The world, its programs and what became of them."""

    def __init__(
        self,
        *,
        seed: int = 1,
        loss: Chance = 0.01,
        delay: Time = "20ms",
        rate: Rate = "10Mbit",
        pcap: str | None = None,
        every_port: bool = False,
        told: Callable[[str, bool, str], object] = lambda step, ok, line: None,
    ) -> None:
        self.world = World(seed=seed)
        self.recorder = Recorder()
        self.told = told
        self.report: dict[str, Any] = {"seed": seed}
        self.page = web.page(PAGE)
        self.inbox = mail.MemoryStore()
        self.answer = 1.0 + 4 * time_ns(delay, "delay") / SECOND  # s to wait for an echo
        try:
            if pcap is not None and every_port:
                self.world.capture(pcap)
            self._build(loss, delay, rate)
            if pcap is not None and not every_port:
                capture = WorldCapture(pcap, seed, self.world.driver.epoch)
                self.world.captures.append(capture)
                capture.add_host(self.client)
        except BaseException:
            self.world.close()
            raise

    def _build(self, loss: Chance, delay: Time, rate: Rate) -> None:
        world = self.world
        self.client = world.host("client")
        first, second = world.router("r1"), world.router("r2")
        self.web, self.mail, self.dns = world.host("web"), world.host("mail"), world.host("dns")
        lan = world.switch("lan")
        self.slow = world.link(self.client, first, rate=rate, delay=delay, loss=loss)
        world.link(first, second, rate="1Gbit", delay="2ms")
        world.link(second, lan, rate="1Gbit", delay="50us")
        for host in (self.web, self.mail, self.dns):
            world.link(host, lan, rate="1Gbit", delay="50us")
        self.client.names = {}  # it asks the name server
        self.client.nameservers = addresses_of(self.dns)  # the second hears what the first did not
        for host in world.hosts.values():
            self.recorder.watch(host)

    # -- running --------------------------------------------------------------------------------

    def run(self) -> bool:
        """Everything, in virtual time; whether all of it worked."""
        run_on(self.client, self._main)
        self.report["virtual_seconds"] = self.world.time
        return bool(self.report["ok"])

    async def _main(self) -> None:
        wall = self.world.driver.wall
        services = [
            await spawn(self.dns, names.start(self._zone())),
            await spawn(self.web, web.start(pages={"/page.bin": self.page}, wall=wall)),
            await spawn(self.mail, mail.start(store=self.inbox, wall=wall)),
        ]
        good = True
        for step in (self._resolve, self._fetch, self._send, self._ping, self._trace):
            name = step.__name__.removeprefix("_")
            try:
                ok, line = await step()
            except (OSError, httpx.HTTPError, aiosmtplib.SMTPException) as error:
                ok, line = False, f"{type(error).__name__}: {error}"
            self.told(name, ok, line)
            good = good and ok
        self.report["ok"] = good
        for service in services:
            service.close()
        await asyncio.sleep(1)  # the last goodbyes cross the slow link

    def _zone(self) -> names.Zone:
        zone = names.Zone(
            {
                DOMAIN: {
                    "SOA": f"dns.{DOMAIN}. root.{DOMAIN}. 1 3600 600 86400 60",
                    "NS": f"dns.{DOMAIN}.",
                    "MX": f"10 mail.{DOMAIN}.",
                },
                f"www.{DOMAIN}": {"CNAME": f"web.{DOMAIN}."},
            }
        )
        for host in self.world.hosts.values():
            zone.add_host(f"{host.name}.{DOMAIN}", [text(a) for a in addresses_of(host)])
        return zone

    # -- the programs of the client -------------------------------------------------------------

    async def _resolve(self) -> tuple[bool, str]:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(f"www.{DOMAIN}", 80, type=1)
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        self.report["names"] = {f"www.{DOMAIN}": addresses}
        wanted = sorted(text(a) for a in addresses_of(self.web))
        return sorted(addresses) == wanted, f"www.{DOMAIN} is {', '.join(addresses)}"

    async def _fetch(self) -> tuple[bool, str]:
        url = f"http://www.{DOMAIN}/page.bin"
        loop = asyncio.get_running_loop()
        self.report["web"] = {"status": 0, "bytes": 0, "sha256": ""}
        began = loop.time()
        async with httpx.AsyncClient(trust_env=False, verify=False, timeout=PATIENCE) as client:
            answer = await client.get(url)
        seconds = loop.time() - began
        digest = hashlib.sha256(answer.content).hexdigest()
        whole = digest == hashlib.sha256(self.page).hexdigest()
        self.report["web"] = {
            "status": answer.status_code,
            "bytes": len(answer.content),
            "sha256": digest,
            "seconds": seconds,
        }
        ok = answer.status_code == 200 and whole
        told = f"{answer.status_code}, {len(answer.content):,} bytes in {seconds:.2f} s"
        return ok, f"{told}, sha256 {digest[:12]}… {'as sent' if whole else 'DIFFERS'}"

    async def _send(self) -> tuple[bool, str]:
        message = EmailMessage()
        message["From"], message["To"] = f"ann@client.{DOMAIN}", f"bob@{DOMAIN}"
        message["Subject"] = "A page from another layer"
        message["Date"] = formatdate(self.world.driver.wall())
        message["Message-ID"] = f"<1@client.{DOMAIN}>"
        message.set_content("Hello Bob,\n\nit all arrived. The picture is attached.\n\nAnn\n")
        message.add_attachment(
            web.page(ATTACHMENT), maintype="application", subtype="octet-stream", filename="p.bin"
        )
        message.set_boundary("=====capas=====")
        self.report["mail"] = {"accepted": False, "bytes": 0}
        resolver = self._resolver()
        exchange = (await resolver.query(DOMAIN, "MX")).answer[0][0].exchange.to_text(True)
        errors, told = await aiosmtplib.send(
            message,
            hostname=exchange,
            port=mail.PORT,
            local_hostname=f"client.{DOMAIN}",
            start_tls=False,
            timeout=PATIENCE,
        )
        delivered = self.inbox.messages[0].content if self.inbox.messages else b""
        sent = message.as_bytes(policy=message.policy.clone(linesep="\r\n"))
        whole = delivered == sent
        self.report["mail"] = {"accepted": not errors and whole, "bytes": len(delivered)}
        ok = not errors and whole
        return ok, f"to {message['To']} by {exchange}: {told}, {'as sent' if whole else 'DIFFERS'}"

    def _resolver(self) -> StubResolver:
        servers = [text(server) for server in self.client.nameservers]
        return StubResolver(servers, self.world.rng.stream("client:resolver"))

    async def _ping(self) -> tuple[bool, str]:
        target = addresses_of(self.web)[0]
        echoes = await diagnostics.ping(
            self.client, target, count=PINGS, interval=0.2, timeout=self.answer
        )
        times = [echo.rtt for echo in echoes if echo.answered]
        self.report["ping"] = {"sent": len(echoes), "received": len(times)}
        if not times:
            return False, f"{text(target)}: no answer"
        low, high = (diagnostics.milliseconds(t) for t in (min(times), max(times)))
        return True, f"{text(target)}: {len(times)} of {len(echoes)} answered, {low} to {high}"

    async def _trace(self) -> tuple[bool, str]:
        target = addresses_of(self.web)[0]
        hops = await diagnostics.traceroute(self.client, target, timeout=self.answer)
        resolver = self._resolver()
        rows = []
        for hop in hops:
            name = await resolver.name_of(text(hop.source)) if hop.source else None
            rows.append(
                {
                    "ttl": hop.ttl,
                    "address": text(hop.source) if hop.source else None,
                    "name": name,
                    "milliseconds": [rtt / 1e6 if rtt >= 0 else None for rtt in hop.rtts],
                }
            )
        self.report["traceroute"] = rows
        way = " → ".join(str(row["name"] or row["address"] or "*") for row in rows)
        return bool(hops) and hops[-1].reached, f"client → {way}".replace(f".{DOMAIN}", "")


def addresses_of(host: Host) -> list[bytes]:
    """The global addresses of a host, IPv4 first."""
    found = [
        own.address
        for interface in host.interfaces
        if interface.link.caps.medium is not Medium.LOOPBACK
        for own in interface.addresses
        if not is_link_local(own.address)
    ]
    return sorted(found, key=len)
