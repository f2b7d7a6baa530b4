"""Something wrong about a declared rig, before it is known in which file that stands."""

from __future__ import annotations

from dataclasses import dataclass

from rigdeploy.fleet.document import Place


@dataclass(frozen=True)
class Remark:
    """``place`` starts at ``rigs``; below ``build`` it is a place of the merged build."""

    place: Place
    message: str
    remedy: str = ""
    severity: str = "error"

    @classmethod
    def warning(cls, place: Place, message: str, remedy: str = "") -> Remark:
        """Something that can be, and is probably not meant."""
        return cls(place, message, remedy, "warning")

    @classmethod
    def not_yet(cls, place: Place, what: str) -> Remark:
        """Something that may be declared and that this version does not act on."""
        return cls.warning(place, f"{what} is declared; this version does nothing about it")
