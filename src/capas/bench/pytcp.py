# SPDX-License-Identifier: Apache-2.0
"""The Python rival's end of ``capas bench tap``: pmd-pytcp, where its user has installed it.

``python -m capas.bench.pytcp INTERFACE`` serves discard, chargen and echo on its asynchronous
sockets, at `PYTCP`, on a TUN device.  It says "ready", and ends with its standard input.
"""

import asyncio
import os
import sys
import threading
from importlib import import_module
from typing import Any, Final

from capas.bench.load import BLOCK
from capas.bench.server import CHARGEN, DISCARD, ECHO

PYTCP: Final = ("10.98.4.2",)
OWN: Final = "10.98.4.1"
_PATIENCE: Final = 200  # tenths of a second


async def _serve(connection: Any, port: int) -> None:
    block = bytes(BLOCK)
    try:
        while True:
            if port == CHARGEN:
                # Its send takes whatever comes and never waits: without this it would only buffer.
                while len(connection.tcp_session._tx.buffer) >= BLOCK:
                    await asyncio.sleep(0)
                await connection.send(block)
                continue
            data = await connection.recv(BLOCK)
            if not data:
                break
            if port == ECHO:
                await connection.send(data)
    except OSError:
        pass
    connection.close()


async def _accept(listener: Any, port: int) -> None:
    tasks: set[asyncio.Task[None]] = set()
    while True:
        connection, _ = await listener.accept()
        task = asyncio.create_task(_serve(connection, port))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


async def _bind(listener: Any, port: int) -> None:
    for _ in range(_PATIENCE):
        try:
            listener.bind((PYTCP[0], port))
        except OSError:  # the stack probes for its address before it has it
            await asyncio.sleep(0.1)
        else:
            return
    raise TimeoutError(f"the stack does not have {PYTCP[0]}")


async def _main(interface: str) -> None:
    stack, address, sockets = (
        import_module(name) for name in ("pmd_pytcp.stack", "pmd_net_addr", "pmd_pytcp.socket")
    )
    stack.init()
    stack.add_interface(
        **stack.initialize_interface__tun(interface_name=interface),
        ip4_host=address.Ip4IfAddr(f"{PYTCP[0]}/24"),
        ip6_support=False,
    )
    await stack.start()
    serving = []
    for port in (ECHO, DISCARD, CHARGEN):
        listener = sockets.socket(sockets.AF_INET4, sockets.SOCK_STREAM)
        await _bind(listener, port)
        listener.listen(backlog=256)
        serving.append(_accept(listener, port))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.gather(*serving)


def _end_with_input() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


def main(words: list[str]) -> int:
    """INTERFACE."""
    threading.Thread(target=_end_with_input, daemon=True).start()
    asyncio.run(_main(words[0]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
