# SPDX-License-Identifier: Apache-2.0
"""Build hook: with CAPAS_COMPILE=1 in the environment, compile the hot modules by mypyc.

Without it nothing happens, and no compiler is needed: the wheel is pure Python.  The compiled
wheel holds the sources, too; an extension beside a source wins when Python imports.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run as a script, to compile in place
    BuildHookInterface = object  # type: ignore[assignment,misc]

#: What is compiled, below src/capas: the way of a segment from the link to the user and back.
HOT = (
    "base/checksum.py",
    "base/frame.py",
    "base/minmax.py",
    "base/seq.py",
    "wire/tcp.py",
    "wire/tcp_options.py",
    "transport/demux.py",
    "transport/tcp/acknowledge.py",
    "transport/tcp/output.py",
    "transport/tcp/rack.py",
    "transport/tcp/rate.py",
    "transport/tcp/receiver.py",
    "transport/tcp/record.py",
    "transport/tcp/recovery.py",
    "transport/tcp/rtt.py",
    "transport/tcp/scoreboard.py",
    "transport/tcp/sender.py",
)


def compile_into(root: Path, target: Path) -> list[Path]:
    """Compile `HOT` of the tree at ``root``; the extensions land below ``target``."""
    from mypyc.build import mypycify
    from setuptools import Distribution
    from setuptools.command.build_ext import build_ext

    source = root / "src"
    names = [str(Path("capas") / name) for name in HOT]
    before = Path.cwd()
    os.chdir(source)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            extensions = mypycify(
                ["--config-file=", "--follow-imports=silent", "--ignore-missing-imports", *names],
                opt_level="3",
                target_dir=scratch,
                group_name="capas",
            )
            command = build_ext(Distribution({"name": "capas", "ext_modules": extensions}))
            command.ensure_finalized()
            command.build_lib = str(target)
            command.build_temp = str(Path(scratch) / "objects")
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
