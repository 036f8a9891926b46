# SPDX-License-Identifier: Apache-2.0
"""Stand-ins that are classes, as what they stand for: `isinstance` and `issubclass` go on."""


class Kind(type):
    """Of stand-in classes: instances of the ``genuine`` class, or of several, are theirs."""

    def __instancecheck__(cls, instance: object) -> bool:
        genuine: type | tuple[type, ...] | None = vars(cls).get("genuine")
        return (
            super().__instancecheck__(instance)
            if genuine is None
            else isinstance(instance, genuine)
        )

    def __subclasscheck__(cls, subclass: type) -> bool:
        genuine: type | tuple[type, ...] | None = vars(cls).get("genuine")
        return (
            super().__subclasscheck__(subclass)
            if genuine is None
            else issubclass(subclass, genuine)
        )
