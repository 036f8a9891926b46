# SPDX-License-Identifier: Apache-2.0
"""A network namespace of the Linux kernel to test against.

Everything happens between capas and this namespace; nothing leaves it.  Needs root, ``unshare``,
``nsenter``, ``ip`` and /dev/net/tun; `missing` names what is not there.
"""

import ctypes
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
CLONE_NEWNET = 0x40000000
#: With the namespace's own interfaces in /sys, as `ip netns exec` has them.
BEGIN = "mount -t sysfs sysfs /sys; ip link set lo up && echo up && exec cat"
TOOLS = ("unshare", "nsenter", "ip")

KERNEL4, CAPAS4 = "10.99.0.1", "10.99.0.2"
KERNEL6, CAPAS6 = "fd99::1", "fd99::2"


def missing(*tools: str) -> str:
    """What cannot be had here, in words for a skip; "" if all is there."""
    if sys.platform != "linux":
        return "Linux is missing"
    if os.geteuid() != 0:
        return "root is missing"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "/dev/net/tun is missing"
    absent = [tool for tool in (*TOOLS, *tools) if shutil.which(tool) is None]
    if absent:
        return f"{', '.join(absent)} is missing"
    probe = subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False)
    return "" if probe.returncode == 0 else "the right to make a network namespace is missing"


class Lab:
    """One namespace, alive as long as this object is open."""

    def __init__(self) -> None:
        self.holder = subprocess.Popen(
            ["unshare", "-n", "-m", "sh", "-c", BEGIN],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.holder.stdout is not None
        assert self.holder.stdout.readline() == b"up\n"
        self.running: list[subprocess.Popen[Any]] = []

    def command(self, *words: str) -> list[str]:
        here = f"--wd={os.getcwd()}"  # else the root of those mounts
        return ["nsenter", "-t", str(self.holder.pid), "-n", "-m", here, "--", *words]

    def run(
        self, *words: str, check: bool = True, timeout: float = 200, **more: Any
    ) -> subprocess.CompletedProcess[str]:
        more.setdefault("capture_output", True)
        more.setdefault("text", True)
        done = subprocess.run(self.command(*words), check=False, timeout=timeout, **more)
        if check and done.returncode != 0:
            raise AssertionError(f"{words} gave {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def start(self, *words: str, **more: Any) -> subprocess.Popen[Any]:
        process = subprocess.Popen(self.command(*words), **more)
        self.running.append(process)
        return process

    def capas(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "capas.cli.main", *words, **more)

    def inside(self, function: Callable[[], T]) -> T:
        """Call ``function`` in a thread that lives in the namespace (descriptors stay usable)."""
        result: list[T] = []
        failure: list[BaseException] = []

        def body() -> None:
            try:
                libc = ctypes.CDLL(None, use_errno=True)
                with open(f"/proc/{self.holder.pid}/ns/net") as namespace:
                    if libc.setns(namespace.fileno(), CLONE_NEWNET):
                        raise OSError(ctypes.get_errno(), "setns")
                result.append(function())
            except BaseException as error:
                failure.append(error)

        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
        if failure:
            raise failure[0]
        return result[0]

    def addresses(self, device: str, *texts: str) -> None:
        """Give the kernel's end its addresses and bring it up."""
        for text in texts:
            options = ["nodad"] if ":" in text else []
            self.run("ip", "address", "add", text, "dev", device, *options)
        self.run("ip", "link", "set", device, "up")

    def up(self, folder: Path, *words: str, tun: bool = False, device: str = "capas0") -> "Up":
        """``capas up`` on a device with the usual addresses, ready."""
        return Up(self, folder, words, tun, device)

    def eventually(self, true: Callable[[], object]) -> None:
        """Ask until it is so."""
        deadline = time.monotonic() + 60
        while not true():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def close(self) -> None:
        for process in self.running:
            if process.poll() is None:
                process.terminate()
        for process in self.running:
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        assert self.holder.stdin is not None
        self.holder.stdin.close()
        self.holder.wait(60)

    def __enter__(self) -> "Lab":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Up:
    """A running ``capas up``."""

    def __init__(
        self, lab: Lab, folder: Path, words: Sequence[str], tun: bool, device: str
    ) -> None:
        ready = folder / "ready"
        ready.unlink(missing_ok=True)
        self.lab = lab
        self.log = folder / "up.log"
        addresses = [] if "--address" in words else ["--address", f"{CAPAS4}/24"]
        addresses += [] if "--address" in words else ["--address", f"{CAPAS6}/64"]
        with self.log.open("wb") as log:
            self.process = lab.start(
                sys.executable, "-m", "capas.cli.main", "up",
                "--tun" if tun else "--tap", device,
                "--kernel-address", f"{KERNEL4}/24", "--kernel-address", f"{KERNEL6}/64",
                *addresses, "--ready-file", str(ready), *words,
                stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        deadline = time.monotonic() + 60
        while not ready.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"capas up is not ready:\n{self.text()}")
            time.sleep(0.02)

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(60)
