# SPDX-License-Identifier: Apache-2.0
"""The shell commands of scripts, understood rather than executed.

Settings (``sysctl``, ``set_sysctls.py``, defaults scripts) become settings of the host; questions
about sockets (``sockstat | grep``) are answered from the stack's tables; what only prepares a
kernel's test device is passed over.  No command of a script ever reaches a shell: an unknown one
makes the script not applicable, by name.
"""

import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Final

from capas.conformance import files
from capas.conformance.calls import Calls
from capas.conformance.errors import Failed, NotApplicable
from capas.conformance.network import Network
from capas.host import sysctl
from capas.transport.tcp import states

_VARIABLE: Final = re.compile(r"\$\(\(([0-9*+ ]+)\)\)")
_REDIRECTION: Final = re.compile(r"^(\d?>|&>|\d>&\d)")

#: Commands that prepare a device or caches which are new for each script here.
_NEEDLESS: Final = {
    ("sleep", ""),
    ("true", ""),
    ("kldstat", ""),
}

#: What scripts of the Linux suite assume of a host when they ask for ``defaults.sh``; used where
#: that file does not lie beside them.
BENCH: Final[dict[str, int | str | bool]] = {
    "tcp_receive_buffer": 540_000,
    "tcp_receive_buffer_max": 15 << 20,
    "tcp_send_buffer": 256 << 10,
    "tcp_send_buffer_max": 4 << 20,
    "tcp_syn_retries": 5,
    "tcp_slow_start_after_idle": False,
    "tcp_ecn": 0,
    "tcp_fastopen": 0x70403,
    "tcp_fastopen_key": "a1a1a1a1-b2b2b2b2-c3c3c3c3-d4d4d4d4",
}

#: How FreeBSD's sockstat -s names the states.
_SOCKSTAT: Final = {
    states.CLOSED: "CLOSED",
    states.LISTEN: "LISTEN",
    states.SYN_SENT: "SYN_SENT",
    states.SYN_RECEIVED: "SYN_RCVD",
    states.ESTABLISHED: "ESTABLISHED",
    states.CLOSE_WAIT: "CLOSE_WAIT",
    states.FIN_WAIT_1: "FIN_WAIT_1",
    states.CLOSING: "CLOSING",
    states.LAST_ACK: "LAST_ACK",
    states.FIN_WAIT_2: "FIN_WAIT_2",
    states.TIME_WAIT: "TIME_WAIT",
}


class Commands:
    """Runs the commands of one script on its network.

    ``unknown`` collects the settings that were asked for and do not exist here.
    """

    def __init__(self, script: Path, network: Network, calls: Calls) -> None:
        self.directory = script.parent
        self.network = network
        self.calls = calls
        self.unknown: list[str] = []

    def run(self, text: str, setting_up: bool = False) -> None:
        """Run a command line (or several); `Failed` if it would have exited non-zero."""
        joined = text.replace("\\\n", " ")
        for line in re.split(r"\n|;|&&|\|\|", joined):
            line = line.strip()
            if line and not line.startswith("#"):
                self._pipeline(line, setting_up)

    def _pipeline(self, line: str, setting_up: bool) -> None:
        stages = [words for stage in line.split("|") if (words := _words(stage))]
        if not stages:
            return
        first = stages[0]
        if first[0] in ("sockstat", "nstat", "grep", "echo", "cat") and len(stages) > 1:
            self._question(stages, line)
        else:
            self._simple(first, line)

    def _simple(self, words: list[str], line: str) -> None:
        name = words[0].rsplit("/", 1)[-1]
        argument = words[1] if len(words) > 1 else ""
        if name == "sysctl" or name == "set_sysctls.py":
            self._settings(words[1:])
        elif name.endswith(".sh"):
            self._shell_file(words[0])
        elif (name, argument) in _NEEDLESS or (name, "") in _NEEDLESS:
            pass
        elif name == "ethtool" and "off" in words:
            self.network.link.splitting = True
        elif name == "tc" and "pfifo" in words:
            pass
        elif name == "ip" and argument == "tcp_metrics":
            self.network.host.tcp.env.fastopen.forget()
        elif name == "ip" and "route" in words:
            self._route(words, line)
        elif name == "echo" and "hystart_detect" in line:
            pass
        elif name == "tcpdrop":
            self._drop()
        elif name == "nstat":
            pass
        else:
            raise NotApplicable(f"the command {' '.join(words)[:60]!r}")

    # -- settings ---------------------------------------------------------------------------------

    def _settings(self, words: list[str]) -> None:
        for word in words:
            if word.startswith("-"):
                continue
            key, equals, value = word.partition("=")
            if not equals:
                raise NotApplicable(f"reading the setting {key}")
            self.set(key, value)

    def set(self, key: str, value: str) -> None:
        """One setting; names with slashes are paths below /proc/sys."""
        if key.startswith("/proc/sys/"):
            key = key.removeprefix("/proc/sys/").replace("/", ".")
        host = self.network.host
        if key in sysctl.ACTIONS:
            sysctl.act(host, key)
        elif not sysctl.apply(host.config, key, value) and key not in self.unknown:
            self.unknown.append(key)

    def _shell_file(self, name: str) -> None:
        if "sysctl_restore" in name:
            return  # each script has a host of its own
        path = self.directory / name
        if not path.is_file() and path.name == "defaults.sh":
            for field, value in BENCH.items():
                setattr(self.network.host.config, field, value)
            return
        if not path.is_file():
            raise NotApplicable(f"the shell script {name}, which is not there")
        self.run(path.read_text(encoding="utf-8", errors="replace"), setting_up=True)

    def _route(self, words: list[str], line: str) -> None:
        facts = dict(pairwise(words))
        known = {"advmss", "initcwnd", "mtu"}
        host = self.network.host
        if "change" not in words or not known & set(words):
            raise NotApplicable(f"the command {line[:60]!r}")
        mtu = facts.get("mtu", "")
        if mtu == "lock":
            mtu = facts.get("lock", "")
        for route in host.net.routes:
            everything = not any(route.prefix.address)
            if mtu and everything and route.interface is self.network.interface:
                route.mtu = int(mtu)
        host.net.routes.changed()
        if "initcwnd" in facts:
            host.config.tcp_initial_window = int(facts["initcwnd"])
        if "advmss" in facts:
            sysctl.apply(host.config, "route.advmss", facts["advmss"])

    def _drop(self) -> None:
        host = self.network.host
        for connection in tuple(host.tcp.table.values()):
            if connection.state == states.TIME_WAIT:
                connection.abort(self.network.now)

    # -- questions --------------------------------------------------------------------------------

    def _question(self, stages: list[list[str]], line: str) -> None:
        if stages[0][0] == "sockstat":
            lines = self._sockstat(stages[0])
        elif stages[0][0] == "nstat":
            counters = self.network.host.counters.snapshot()
            lines = [f"{sysctl.SNMP.get(k, k)} {v}" for k, v in counters.items() if v]
        else:
            raise NotApplicable(f"the command {line[:60]!r}")
        for stage in stages[1:]:
            if stage[0] != "grep":
                raise NotApplicable(f"the command {line[:60]!r}")
            lines = _grep(stage[1:], lines)
        if not lines or (lines == ["0"] and "-c" in stages[-1]):
            raise Failed(f"the command failed: {line}")

    def _sockstat(self, words: list[str]) -> list[str]:
        family = 16 if "-6" in words else 4
        port = int(words[words.index("-p") + 1]) if "-p" in words else 0
        owned = [
            file.description.connection
            for file in self.calls.files.values()
            if isinstance(file, files.SocketFile) and file.description.connection is not None
        ]
        others = [c for c in self.network.host.tcp.table.values() if c not in owned]
        return [
            f"{owner} {_SOCKSTAT[connection.state]}"
            for owner, group in (("packetdrill", owned), ("?", others))
            for connection in group
            if len(connection.local_address) == family
            and (not port or port in (connection.local_port, connection.remote_port))
        ]


def _words(stage: str) -> list[str]:
    stage = _VARIABLE.sub(lambda match: str(_product(match.group(1))), stage)
    try:
        words = shlex.split(stage, comments=True)
    except ValueError:
        raise NotApplicable(f"the command {stage.strip()[:60]!r}") from None
    out: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word in (">", ">>", "2>", "&>"):
            skip = True
        elif not _REDIRECTION.match(word):
            out.append(word)
    if out and out[0] in ("python", "python3"):
        out = out[1:]
    return out


def _product(text: str) -> int:
    total = 0
    for term in text.split("+"):
        product = 1
        for factor in term.split("*"):
            product *= int(factor)
        total += product
    return total


def _grep(words: list[str], lines: list[str]) -> list[str]:
    counting = "-c" in words
    inverted = "-v" in words
    patterns = [word for word in words if not word.startswith("-")]
    if len(patterns) != 1:
        raise NotApplicable(f"grep with {len(patterns)} patterns")
    found = [line for line in lines if (re.search(patterns[0], line) is not None) != inverted]
    return [str(len(found))] if counting else found
