# SPDX-License-Identifier: Apache-2.0
"""``capas get URL``: fetch a URL through a host on a TAP or TUN, by httpx."""

import contextlib
import hashlib
import sys
import time
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import unquote, urlsplit

import click
import httpx
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from capas.cli.lookup import reachable
from capas.cli.options import (
    UNVERIFIED,
    DeviceOptions,
    device_options,
    json_option,
    print_json,
    reason,
    reports_errors,
)
from capas.cli.station import Station
from capas.errors import CapasError, ConfigurationError
from capas.wire.address import parse

_CHUNK = 1 << 18


@click.command()
@click.argument("url")
@click.option("-o", "--output", metavar="FILE", help="Write the body to FILE; - is stdout.")
@click.option("-i", "--include", is_flag=True, help="Write status and headers, too.")
@click.option("-H", "--header", multiple=True, metavar="NAME:VALUE", help="Send this header.")
@click.option(
    "-d", "--data", metavar="TEXT", help="POST this instead; @FILE sends a file, piece by piece."
)
@click.option("-X", "--method", metavar="WORD", help="The method; else GET, or POST with --data.")
@click.option(
    "--timeout", type=click.FloatRange(0.001), default=30.0, show_default=True, metavar="S",
    help="Seconds without any progress.",
)  # fmt: skip
@click.option("-k", "--insecure", is_flag=True, help="Do not check the certificate of https.")
@json_option
@device_options
@reports_errors
def command(
    options: DeviceOptions,
    url: str,
    output: str | None,
    include: bool,
    header: tuple[str, ...],
    data: str | None,
    method: str | None,
    timeout: float,
    insecure: bool,
    as_json: bool,
) -> int:
    """Fetch URL (http or https) and write what comes to standard output or a file.

    The exit code is 0 for a status below 400.  Redirects are followed.
    """
    url = _checked(url)
    headers = _headers(header)
    started = time.monotonic()
    with ExitStack() as closing:
        sink = _sink(output, as_json, closing)
        body = _body(data, closing)
        station = closing.enter_context(Station(options))
        request = Request(method or ("GET" if data is None else "POST"), url, headers, body)
        fetch = Fetch(request, sink, include and not as_json, timeout, not insecure)
        fetch.progress = closing.enter_context(_progress(sink))
        station.run(fetch.run(station))
    result = fetch.result(time.monotonic() - started)
    if as_json:
        print_json(result)
    elif not result["ok"]:
        click.echo(f"capas: {url} answered {result['status']} {result['reason']}", err=True)
    return 0 if result["ok"] else 1


def _checked(url: str) -> str:
    if "://" not in url:
        url = f"http://{url}"
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # an open bracket, a port that is none
        good = False
    if not good:
        raise click.UsageError(f"{url!r} is not a URL such as http://192.0.2.1/page")
    return url


def _headers(texts: tuple[str, ...]) -> dict[str, str]:
    headers = {"user-agent": "capas"}
    for text in texts:
        name, colon, value = text.partition(":")
        if not colon or not name.strip():
            raise click.UsageError(f"--header {text!r}: say NAME:VALUE")
        if not (text.isascii() and text.isprintable()):
            raise click.UsageError(f"--header {text!r}: a header is one line of ASCII")
        headers[name.strip().lower()] = value.strip()
    return headers


def _sink(output: str | None, as_json: bool, closing: ExitStack) -> IO[bytes] | None:
    """Where the body goes; None: it is only measured."""
    if output is None and as_json:
        return None
    if output in (None, "-"):
        return sys.stdout.buffer
    assert output is not None
    path = Path(output)
    if path.is_dir():
        raise click.UsageError(f"--output {output}: it is a directory, say a file in it")
    return closing.enter_context(path.open("wb"))


def _body(data: str | None, closing: ExitStack) -> bytes | IO[bytes] | None:
    if data is None or not data.startswith("@"):
        return None if data is None else data.encode()
    path = Path(data[1:])
    if not path.is_file():
        raise click.UsageError(f"--data {data}: there is no file {path}")
    return closing.enter_context(path.open("rb"))


def _progress(sink: IO[bytes] | None) -> Progress:
    """Progress on standard error, for people who do not see the body itself."""
    console = Console(stderr=True)
    shown = console.is_terminal and not (sink is sys.stdout.buffer and sys.stdout.isatty())
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not shown,
    )


class Request:
    """What to ask for."""

    def __init__(
        self, method: str, url: str, headers: dict[str, str], body: bytes | IO[bytes] | None
    ) -> None:
        self.method = method.upper()
        self.url = url
        self.headers = headers
        self.body = body
        if body is not None and not isinstance(body, bytes):
            body.seek(0, 2)
            self.headers.setdefault("content-length", str(body.tell()))
            body.seek(0)

    def content(self) -> Any:
        """The body as httpx wants it."""
        if self.body is None or isinstance(self.body, bytes):
            return self.body
        return _pieces(self.body)


async def _pieces(file: IO[bytes]) -> Any:
    while piece := file.read(_CHUNK):
        yield piece


class Fetch:
    """One exchange and what it brought."""

    progress: Progress

    def __init__(
        self, request: Request, sink: IO[bytes] | None, include: bool, timeout: float, verify: bool
    ) -> None:
        self.request = request
        self.sink = sink
        self.include = include
        self.timeout = timeout
        self.verify = verify
        self.status = 0
        self.reason = ""
        self.headers: dict[str, str] = {}
        self.bytes = 0
        self.final_url = request.url
        self.digest = hashlib.sha256()

    async def run(self, station: Station) -> None:
        """Do it; httpx's errors become ours."""
        await station.usable()
        with contextlib.suppress(ValueError):  # a name
            reachable(station, parse(urlsplit(self.request.url).hostname or ""))
        try:
            async with httpx.AsyncClient(
                timeout=self.timeout, follow_redirects=True, verify=self.verify, trust_env=False
            ) as client:
                request = self.request
                async with client.stream(
                    request.method, request.url, headers=request.headers, content=request.content()
                ) as response:
                    await self._body(response)
        except httpx.TimeoutException as error:
            word = type(error).__name__.removesuffix("Timeout").lower()
            raise CapasError(
                f"{self.request.url}: no progress for {self.timeout:g} s ({word})"
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            said = reason(error)
            hint = "; --insecure does not check it" if said.startswith(UNVERIFIED) else ""
            raise CapasError(f"{self.request.url}: {said}{hint}") from None
        except UnicodeError as error:  # what IDNA (RFC 5891) and a header cannot hold
            raise ConfigurationError(f"{self.request.url}: {error}") from None

    async def _body(self, response: httpx.Response) -> None:
        self.status = response.status_code
        self.reason = response.reason_phrase
        self.headers = dict(response.headers)
        self.final_url = str(response.url)
        if self.include and self.sink is not None:
            head = f"{response.http_version} {self.status} {self.reason}\r\n"
            head += "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
            self.sink.write(head.encode("latin-1", "replace") + b"\r\n")
        length = response.headers.get("content-length", "")
        name = PurePosixPath(unquote(response.url.path)).name or self.request.url
        task = self.progress.add_task(name, total=int(length) if length.isdigit() else None)
        async for piece in response.aiter_raw():
            self.bytes += len(piece)
            self.digest.update(piece)
            if self.sink is not None:
                self.sink.write(piece)
            self.progress.update(task, completed=self.bytes)
        if self.sink is not None:
            self.sink.flush()

    def result(self, seconds: float) -> dict[str, Any]:
        """For `print_json`."""
        return {
            "ok": 0 < self.status < 400,
            "url": self.final_url,
            "status": self.status,
            "reason": self.reason,
            "headers": self.headers,
            "bytes": self.bytes,
            "sha256": self.digest.hexdigest(),
            "seconds": round(seconds, 3),
        }
