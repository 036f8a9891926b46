# SPDX-License-Identifier: Apache-2.0
"""What classes tell mypyc, where the hot modules are compiled (``hatch_build.py``).

mypyc reads the decorator in the source and drops it.  Interpreted, it does nothing, and the
package `mypy_extensions` it is named after is not needed: the core has no dependencies.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

T = TypeVar("T")

if TYPE_CHECKING:
    from mypy_extensions import mypyc_attr
else:

    def mypyc_attr(**facts: Any) -> Callable[[T], T]:
        """``allow_interpreted_subclasses``: classes that plain Python derives from this one."""
        return lambda found: found


__all__ = ["mypyc_attr"]
