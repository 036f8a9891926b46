# SPDX-License-Identifier: Apache-2.0
"""Writes the generated documents: run it after a change of the tables they are drawn from.

python docs/generate.py           writes docs/tcp-states.md
python docs/generate.py --check   exits with 1 if one of them is not up to date
"""

import sys
from pathlib import Path

from capas.transport.tcp.states import NAMES, TRANSITIONS

HERE = Path(__file__).resolve().parent
NOTE = "<!-- Written by docs/generate.py; change the source, not this file. -->\n\n"


def tcp_states() -> str:
    """The state diagram of TCP, from the table `set_state` checks against."""
    lines = ["# The states of a TCP connection\n"]
    lines.append(
        "The table in `src/capas/transport/tcp/states.py`, against which every change of state is"
        " checked\n(RFC 9293 §3.3.2, figure 5). CLOSED may follow any state (RST, ABORT, timeout);"
        " those arrows are left out\nof the diagram, except where they are the regular end.\n"
    )
    lines.append("```mermaid\nstateDiagram-v2")
    regular = ("LAST-ACK", "TIME-WAIT")
    for state, following in TRANSITIONS.items():
        for target in following:
            if NAMES[target] != "CLOSED" or NAMES[state] in regular:
                source, end = (NAMES[one].replace("-", "_") for one in (state, target))
                lines.append(f"    {source} --> {end}")
    lines.append("```\n")
    lines.append("| state | may be followed by |\n| --- | --- |")
    for state, following in TRANSITIONS.items():
        lines.append(f"| {NAMES[state]} | {', '.join(NAMES[target] for target in following)} |")
    return NOTE + "\n".join(lines) + "\n"


DOCUMENTS = {"tcp-states.md": tcp_states}


def main(arguments: list[str]) -> int:
    """Write, or check."""
    stale = []
    for name, make in DOCUMENTS.items():
        path, text = HERE / name, make()
        if not path.exists() or path.read_text("utf-8") != text:
            stale.append(name)
            if "--check" not in arguments:
                path.write_text(text, "utf-8")
    if stale:
        sys.stdout.write(f"{'stale' if '--check' in arguments else 'written'}: {stale}\n")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
