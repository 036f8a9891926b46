# SPDX-License-Identifier: Apache-2.0
"""Tells of the import of certain modules: programs may import them while stand-ins are in place."""

import sys
from collections.abc import Callable, Container, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, final


@final
class _Telling(Loader):
    """A module's own loader, and a call when the module is there."""

    def __init__(self, loader: Any, imported: Callable[[str], None]) -> None:
        self._loader: Any = loader
        self._imported: Callable[[str], None] = imported

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the module's own loader."""
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        """As the module's own loader, which it belongs to afterwards."""
        assert module.__spec__ is not None
        module.__loader__ = module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._imported(module.__name__)


@final
class Latecomers(MetaPathFinder):
    """For the front of ``sys.meta_path``: ``imported(name)`` is called for each of ``names``."""

    def __init__(self, names: Container[str], imported: Callable[[str], None]) -> None:
        self._names: Container[str] = names
        self._imported: Callable[[str], None] = imported

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What the other finders find."""
        if name not in self._names:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Telling(spec.loader, self._imported)
                return spec
        return None
