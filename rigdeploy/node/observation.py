"""What the probe saw, as typed values.

Everything a node says is data, and may be anything: a value of the wrong type or out of range becomes ``None`` and a
line in ``unread``, texts lose control characters and are cut, lists are capped. Only a document that is no observation
at all is an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rigdeploy.errors import NodeError

SCHEMA = 1
DOCUMENT_LIMIT = 16 * 1024 * 1024
"""Bytes of JSON that are looked at; a node with 500 PCI functions sends some 150 KB."""
TEXT_LIMIT = 200
LIST_LIMIT = 4096
GPU_LIMIT = 64
"""Cards that are looked at; no board carries as many, and matching them to slots costs the cube."""

_ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_WIDTHS = frozenset({1, 2, 4, 8, 12, 16, 32})
_GENERATIONS = range(1, 7)
_MEMORY_MIB = range(1, 16 * 1024 * 1024)
_DISPLAY_CLASSES = ("0300", "0302")
"""VGA and 3D controllers (PCI Code and ID Assignment Specification); a card's audio and USB functions are others."""
_NVIDIA = "10de"


class ObservationError(NodeError):
    """The node answered, but not with an observation that this version can read."""


@dataclass(frozen=True)
class LinkReading:
    """A link as read: ``width`` in lanes, ``gen`` 1 to 6, now and at most; ``None`` is unread.

    ``gen_device_max`` and ``gen_host_max`` are nvidia-smi's alone.
    """

    width: int | None = None
    width_max: int | None = None
    gen: int | None = None
    gen_max: int | None = None
    gen_device_max: int | None = None
    gen_host_max: int | None = None


@dataclass(frozen=True)
class PciDevice:
    """One PCI function. ``class_code`` has six hexadecimal digits; ``parent`` is the address of the port above."""

    address: str
    vendor: str | None = None
    device: str | None = None
    class_code: str | None = None
    parent: str | None = None
    slot: str | None = None
    link: LinkReading | None = None
    aer: Mapping[str, Mapping[str, int]] | None = None

    @property
    def pci_id(self) -> str | None:
        """``vendor:device``, as the catalogue writes it."""
        return f"{self.vendor}:{self.device}" if self.vendor and self.device else None

    @property
    def is_gpu(self) -> bool:
        """Whether this is an NVIDIA card's own function, and not its audio or USB."""
        return self.vendor == _NVIDIA and (self.class_code or "")[:4] in _DISPLAY_CLASSES


@dataclass(frozen=True)
class GpuReading:
    """A card as the driver shows it. ``pstate`` 0 is the fastest; powers in watts, sizes in MiB."""

    address: str
    name: str | None = None
    uuid: str | None = None
    pci_id: str | None = None
    memory_mib: int | None = None
    ecc: bool | None = None
    mig: bool | None = None
    persistence: bool | None = None
    pstate: int | None = None
    idle: bool | None = None
    link: LinkReading = LinkReading()
    bar1_mib: int | None = None
    replays: int | None = None
    power: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Driver:
    """The driver: ``version`` is the module's, ``library`` nvidia-smi's; ``answers`` is whether nvidia-smi works."""

    loaded: bool | None = None
    version: str | None = None
    flavour: str | None = None
    nouveau: bool | None = None
    answers: bool | None = None
    library: str | None = None


@dataclass(frozen=True)
class Host:
    """Who the node is. ``virtualisation`` is ``none`` on bare metal."""

    hostname: str | None = None
    boot_id: str | None = None
    kernel: str | None = None
    os_id: str | None = None
    os_version: str | None = None
    virtualisation: str | None = None
    uptime_seconds: float | None = None
    architecture: str | None = None


@dataclass(frozen=True)
class Drift:
    """One thing a role owns that is not as it left it. ``kind``: file, mode, package or service."""

    kind: str
    name: str
    expected: str
    found: str


@dataclass(frozen=True)
class Managed:
    """A role's record on the node: the hash of the inputs it ran with, when, and what drifted since."""

    inputs: str | None
    recorded: str | None
    drift: tuple[Drift, ...]


@dataclass(frozen=True)
class Unread:
    """Something that could not be read, and why."""

    what: str
    why: str


@dataclass(frozen=True)
class Observation:
    """One node at one moment. ``pci`` and ``gpus`` are by address, ``managed`` by role."""

    schema: int
    host: Host
    driver: Driver
    pci: Mapping[str, PciDevice]
    gpus: Mapping[str, GpuReading]
    managed: Mapping[str, Managed]
    users_root: bool | None
    unread: tuple[Unread, ...]

    @classmethod
    def from_json(cls, text: str | bytes) -> Observation:
        """Read what the probe printed; raises ObservationError when it is no observation."""
        if len(text) > DOCUMENT_LIMIT:
            raise _refused("it is larger than any observation")
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise _refused("it is not valid JSON") from error
        return cls.parse(document)

    @classmethod
    def parse(cls, document: Any) -> Observation:
        """Read a document; raises ObservationError when it is no JSON object or has another schema."""
        if not isinstance(document, dict):
            raise _refused("it is no JSON object")
        if document.get("schema") != SCHEMA or isinstance(document.get("schema"), bool):
            raise _refused(f"its schema is not {SCHEMA}")
        reader = _Reader()
        return cls(
            schema=SCHEMA,
            host=reader.host(_table(document.get("host"))),
            driver=reader.driver(_table(document.get("driver"))),
            pci={device.address: device for device in reader.pci(document)},
            gpus={gpu.address: gpu for gpu in reader.gpus(document)},
            managed=reader.managed(document),
            users_root=_flag(document.get("users_root")),
            unread=(*_unread(document), *reader.unread),
        )

    def why_unread(self, prefix: str) -> str:
        """Why something under this name could not be read; empty when nothing says so."""
        return next((line.why for line in self.unread if line.what.startswith(prefix)), "")

    def ports_above(self, address: str) -> list[PciDevice]:
        """The ports above a function, nearest first, up to the root port."""
        ports: list[PciDevice] = []
        seen = {address}
        device = self.pci.get(address)
        while device is not None and device.parent is not None and device.parent not in seen:
            seen.add(device.parent)
            device = self.pci.get(device.parent)
            if device is not None:
                ports.append(device)
        return ports


def display(text: str) -> str:
    """A node's text made fit to show: one line, no control or formatting characters, at most 200 long."""
    clean = "".join(c if c.isprintable() else " " for c in text[: 4 * TEXT_LIMIT])
    clean = " ".join(clean.split())
    return clean if len(clean) <= TEXT_LIMIT else clean[: TEXT_LIMIT - 1] + "…"


def _refused(reason: str) -> ObservationError:
    return ObservationError(
        f"the node's observation cannot be read: {reason}",
        "run rigdeploy/node/probe.py on the node by hand and look at what it prints",
    )


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[dict[str, Any]]:
    return [item for item in value[:LIST_LIMIT] if isinstance(item, dict)] if isinstance(value, list) else []


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _unread(document: dict[str, Any]) -> Iterator[Unread]:
    for item in _list(document.get("unread")):
        yield Unread(display(str(item.get("what", ""))[:TEXT_LIMIT]), display(str(item.get("why", ""))[:TEXT_LIMIT]))


class _Reader:
    """Reads values by their wanted type; what is not of it is None and noted."""

    def __init__(self) -> None:
        self.unread: list[Unread] = []

    def _wrong(self, what: str, value: Any) -> None:
        if value is not None and len(self.unread) < LIST_LIMIT:
            self.unread.append(Unread(what, f"not a usable value: {type(value).__name__}"))

    def text(self, table: dict[str, Any], key: str, what: str) -> str | None:
        value = table.get(key)
        if isinstance(value, str):
            return display(value) or None
        self._wrong(f"{what}.{key}", value)
        return None

    def flag(self, table: dict[str, Any], key: str, what: str) -> bool | None:
        value = table.get(key)
        if not isinstance(value, bool):
            self._wrong(f"{what}.{key}", value)
        return _flag(value)

    def integer(
        self, table: dict[str, Any], key: str, what: str, allowed: frozenset[int] | range = range(1 << 53)
    ) -> int | None:
        value = table.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and value in allowed:
            return value
        self._wrong(f"{what}.{key}", value)
        return None

    def number(self, table: dict[str, Any], key: str, what: str) -> float | None:
        value = table.get(key)
        # Integers of any size are JSON; only those that a float can hold are a reading.
        if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1 << 53:
            return float(value)
        self._wrong(f"{what}.{key}", value)
        return None

    def address(self, table: dict[str, Any], key: str, what: str) -> str | None:
        value = table.get(key)
        if isinstance(value, str) and _ADDRESS.fullmatch(value):
            return value
        self._wrong(f"{what}.{key}", value)
        return None

    def digits(self, table: dict[str, Any], key: str, what: str) -> str | None:
        value = table.get(key)
        if isinstance(value, str) and re.fullmatch("[0-9a-f]{4,6}", value):
            return value
        self._wrong(f"{what}.{key}", value)
        return None

    def host(self, table: dict[str, Any]) -> Host:
        names = ("hostname", "boot_id", "kernel", "os_id", "os_version", "virtualisation", "architecture")
        texts = {name: self.text(table, name, "host") for name in names}
        return Host(**texts, uptime_seconds=self.number(table, "uptime_seconds", "host"))

    def driver(self, table: dict[str, Any]) -> Driver:
        return Driver(
            loaded=self.flag(table, "loaded", "driver"),
            version=self.text(table, "version", "driver"),
            flavour=self.text(table, "flavour", "driver"),
            nouveau=self.flag(table, "nouveau", "driver"),
            answers=self.flag(table, "answers", "driver"),
            library=self.text(table, "library", "driver"),
        )

    def link(self, value: Any, what: str) -> LinkReading:
        table = _table(value)
        widths = {name: self.integer(table, name, what, _WIDTHS) for name in ("width", "width_max")}
        names = ("gen", "gen_max", "gen_device_max", "gen_host_max")
        return LinkReading(**widths, **{name: self.integer(table, name, what, _GENERATIONS) for name in names})

    def aer(self, value: Any) -> Mapping[str, Mapping[str, int]] | None:
        if not isinstance(value, dict):
            return None
        return {
            severity: {
                display(str(name)[:TEXT_LIMIT]): count
                for name, count in list(_table(value.get(severity)).items())[:TEXT_LIMIT]
                if isinstance(count, int) and not isinstance(count, bool) and 0 <= count < 1 << 64
            }
            for severity in ("correctable", "nonfatal", "fatal")
            if severity in value
        }

    def pci(self, document: dict[str, Any]) -> Iterator[PciDevice]:
        for table in reversed(_list(document.get("pci"))):  # Of two with one address the first is kept.
            address = self.address(table, "address", "pci[]")
            if address is None:
                continue
            what = f"pci[{address}]"
            yield PciDevice(
                address=address,
                vendor=self.digits(table, "vendor", what),
                device=self.digits(table, "device", what),
                class_code=self.digits(table, "class", what),
                parent=self.address(table, "parent", what),
                slot=self.text(table, "slot", what),
                link=self.link(table["link"], f"{what}.link") if isinstance(table.get("link"), dict) else None,
                aer=self.aer(table.get("aer")),
            )

    def gpus(self, document: dict[str, Any]) -> Iterator[GpuReading]:
        for table in reversed(_list(document.get("gpus"))[:GPU_LIMIT]):
            address = self.address(table, "address", "gpus[]")
            if address is None:
                continue
            what = f"gpus[{address}]"
            power = _table(table.get("power"))
            watts = {name: self.number(power, name, f"{what}.power") for name in list(power)[:TEXT_LIMIT]}
            yield GpuReading(
                address=address,
                name=self.text(table, "name", what),
                uuid=self.text(table, "uuid", what),
                pci_id=self.text(table, "pci_id", what),
                memory_mib=self.integer(table, "memory_mib", what, _MEMORY_MIB),
                ecc=self.flag(table, "ecc", what),
                mig=self.flag(table, "mig", what),
                persistence=self.flag(table, "persistence", what),
                pstate=self.integer(table, "pstate", what, range(16)),
                idle=self.flag(table, "idle", what),
                link=self.link(table.get("link"), f"{what}.link"),
                bar1_mib=self.integer(table, "bar1_mib", what, _MEMORY_MIB),
                replays=self.integer(table, "replays", what),
                power={display(name): value for name, value in watts.items() if value is not None},
            )

    def managed(self, document: dict[str, Any]) -> Mapping[str, Managed]:
        if not isinstance(document.get("managed"), dict):
            self._wrong("managed", document.get("managed"))
        roles = list(_table(document.get("managed")).items())[:TEXT_LIMIT]
        for role, table in roles:  # Without a list of differences nobody looked for any.
            if not isinstance(_table(table).get("drift"), list):
                self.unread.append(Unread(f"managed.drift[{display(role)}]", "no list of differences"))
        return {
            display(role): Managed(
                inputs=self.text(table, "inputs", f"managed[{display(role)}]"),
                recorded=self.text(table, "recorded", f"managed[{display(role)}]"),
                drift=tuple(self.drift(item) for item in _list(table.get("drift"))),
            )
            for role, table in roles
            if isinstance(table, dict)
        }

    def drift(self, table: dict[str, Any]) -> Drift:
        texts = {name: self.text(table, name, "managed.drift") or "" for name in ("kind", "name", "expected", "found")}
        return Drift(**texts)
