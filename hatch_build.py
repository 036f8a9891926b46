# SPDX-License-Identifier: Apache-2.0
"""Build hook: with CAPAS_COMPILE=1 in the environment, compile the hot modules by mypyc.

Without it nothing happens, and no compiler is needed: the wheel is pure Python.  The compiled
wheel holds the sources, too; an extension beside a source wins when Python imports.
"""

import os
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run as a script, to compile in place
    BuildHookInterface = object  # type: ignore[assignment,misc]

#: What is compiled, below src/capas: the way of a packet from the wire to the program and back.
HOT = (
    "aio/selector.py",
    "base/checksum.py",
    "base/clock.py",
    "base/config.py",
    "base/events.py",
    "base/frame.py",
    "base/memory.py",
    "base/minmax.py",
    "base/rng.py",
    "base/seq.py",
    "host/host.py",
    "internet/*.py",
    "link/arp.py",
    "link/interface.py",
    "link/link.py",
    "link/neighbor.py",
    "link/offload.py",
    "link/parts.py",
    "link/train.py",
    "link/vlan.py",
    "real/*.py",
    "sim/direction.py",
    "sim/driver.py",
    "sim/engine.py",
    "sim/impairments.py",
    "sim/loss.py",
    "sim/plan.py",
    "sim/queues.py",
    "sim/rates.py",
    "sim/service.py",
    "sim/stage.py",
    "sim/statistics.py",
    "sim/trains.py",
    "sim/wire.py",
    "sockets/current.py",
    "sockets/description.py",
    "sockets/driver.py",
    "sockets/stream.py",
    "transport/*.py",
    "transport/tcp/*.py",
    "transport/tcp/congestion/*.py",
    "wire/address.py",
    "wire/ethernet.py",
    "wire/icmp.py",
    "wire/igmp.py",
    "wire/ipv4.py",
    "wire/ipv6.py",
    "wire/ndp.py",
    "wire/tcp.py",
    "wire/tcp_options.py",
    "wire/udp.py",
)


def modules(source: Path) -> list[str]:
    """The files of `HOT`, relative to ``source`` (the folder src)."""
    package = source / "capas"
    found = [path for pattern in HOT for path in sorted(package.glob(pattern))]
    found = [path for path in found if path.name != "__init__.py"]
    return [str(path.relative_to(source)) for path in found]


def in_parallel(command: Any) -> None:
    """Let ``build_ext`` compile its C files side by side: one by one takes minutes."""
    if os.name != "posix":
        return  # Microsoft's compiler is set up by its first call
    prepare = command.build_extension

    def build(extension: Any) -> None:
        compiler = command.compiler
        one = type(compiler).compile.__get__(compiler)

        def compile_all(sources: list[str], *words: Any, **options: Any) -> list[str]:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                made = pool.map(lambda source: one([source], *words, **options), sources)
                return [path for paths in made for path in paths]

        compiler.compile = compile_all
        try:
            prepare(extension)
        finally:
            del compiler.compile

    command.build_extension = build


def compile_into(root: Path, target: Path) -> list[Path]:
    """Compile `HOT` of the tree at ``root``; the extensions land below ``target``."""
    from mypyc.build import mypycify
    from setuptools import Distribution
    from setuptools.command.build_ext import build_ext

    source = root / "src"
    before = Path.cwd()
    os.chdir(source)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            extensions = mypycify(
                [
                    "--config-file=",
                    f"--cache-dir={os.devnull}",
                    "--follow-imports=silent",
                    "--ignore-missing-imports",
                    *modules(source),
                ],
                opt_level=os.environ.get("CAPAS_COMPILE_OPT", "2"),
                debug_level="0",
                multi_file=True,
                target_dir=scratch,
                group_name="capas",
            )
            command = build_ext(Distribution({"name": "capas", "ext_modules": extensions}))
            command.ensure_finalized()
            command.build_lib = str(target)
            command.build_temp = str(Path(scratch) / "objects")
            in_parallel(command)
            command.run()
    finally:
        os.chdir(before)
    suffixes = (".so", ".pyd", ".dylib")
    return sorted(path for path in target.rglob("*") if path.suffix in suffixes)


class CustomBuildHook(BuildHookInterface):
    """What hatchling calls."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """The compiler, only when it is asked for."""
        if os.environ.get("CAPAS_COMPILE") == "1":
            return ["mypy[mypyc]>=1.11", "setuptools>=68"]
        return []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the extensions to the wheel."""
        if os.environ.get("CAPAS_COMPILE") != "1" or self.target_name != "wheel":
            return
        self._made = Path(tempfile.mkdtemp())
        for path in compile_into(Path(self.root), self._made):
            build_data["force_include"][str(path)] = str(path.relative_to(self._made))
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Leave nothing behind."""
        made = getattr(self, "_made", None)
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)


if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    where = Path(sys.argv[1]) if len(sys.argv) > 1 else here / "src"
    for made in compile_into(here, where):
        sys.stdout.write(f"{made}\n")
