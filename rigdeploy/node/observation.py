"""What the probe saw, as typed values; what is not of its type is ``None``, and stands in ``unread``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rigdeploy.node.values import (
    GENERATIONS,
    TEXT_LIMIT,
    WIDTHS,
    Unread,
    Values,
    checked,
    display,
    document_from,
    table_of,
    tables_of,
    unread_of,
)

SCHEMA = 1
GPU_LIMIT = 64
"""Cards that are looked at; no board carries as many, and matching them to slots costs the cube."""

_PROGRAM = "probe.py"
_MEMORY_MIB = range(1, 16 * 1024 * 1024)
_DISPLAY_CLASSES = ("0300", "0302")
"""VGA and 3D controllers (PCI Code and ID Assignment Specification); a card's audio and USB functions are others."""
_NVIDIA = "10de"


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
    """One PCI function. ``class_code`` has six hexadecimal digits; ``parent`` is the address of the port above.

    ``driver`` is the kernel's driver that holds it, ``bars_mib`` the sizes of its memory BARs, ``acs`` the names of the
    Access Control Services that are switched on (``ReqRedir``), ``None`` where that could not be read.
    """

    address: str
    vendor: str | None = None
    device: str | None = None
    class_code: str | None = None
    parent: str | None = None
    slot: str | None = None
    link: LinkReading | None = None
    aer: Mapping[str, Mapping[str, int]] | None = None
    driver: str | None = None
    numa_node: int | None = None
    iommu_group: int | None = None
    bars_mib: tuple[int, ...] = ()
    acs: tuple[str, ...] | None = None

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
    """A card as the driver shows it. ``pstate`` 0 is the fastest; powers in watts, sizes in MiB.

    ``processes`` counts the programs that compute on it. ``clock_reasons`` are the names of what holds the clocks down
    now (``hw_slowdown``). ``health`` holds counters and 0/1 flags by name, as far as the card has them:
    ``remapped_correctable``, ``remapped_uncorrectable``, ``remap_pending``, ``remap_failed``, ``retired_pending``,
    ``ecc_uncorrectable`` (since the driver was loaded). ``recovery_action`` is the driver's own advice (``None`` as a
    text: none).
    """

    address: str
    name: str | None = None
    uuid: str | None = None
    pci_id: str | None = None
    vbios: str | None = None
    memory_mib: int | None = None
    memory_used_mib: int | None = None
    processes: int | None = None
    ecc: bool | None = None
    mig: bool | None = None
    persistence: bool | None = None
    pstate: int | None = None
    idle: bool | None = None
    link: LinkReading = LinkReading()
    bar1_mib: int | None = None
    replays: int | None = None
    power: Mapping[str, float] | None = None
    clock_reasons: tuple[str, ...] | None = None
    temperature_c: int | None = None
    recovery_action: str | None = None
    health: Mapping[str, int] | None = None


@dataclass(frozen=True)
class Driver:
    """The driver: ``version`` is the module's, ``library`` nvidia-smi's; ``answers`` is whether nvidia-smi works.

    ``installed`` and ``installed_flavour`` are those of the module on disk that the running kernel would load next.
    """

    loaded: bool | None = None
    version: str | None = None
    flavour: str | None = None
    nouveau: bool | None = None
    answers: bool | None = None
    library: str | None = None
    installed: str | None = None
    installed_flavour: str | None = None


@dataclass(frozen=True)
class Host:
    """Who the node is. ``virtualisation`` is ``none`` on bare metal; ``vendor`` to ``bios`` are the firmware's."""

    hostname: str | None = None
    boot_id: str | None = None
    kernel: str | None = None
    os_id: str | None = None
    os_version: str | None = None
    virtualisation: str | None = None
    uptime_seconds: float | None = None
    architecture: str | None = None
    vendor: str | None = None
    product: str | None = None
    board: str | None = None
    bios: str | None = None
    secure_boot: bool | None = None
    iommu: bool | None = None


@dataclass(frozen=True)
class Cpu:
    """The processors together; ``cores`` are physical."""

    model: str | None = None
    sockets: int | None = None
    cores: int | None = None
    threads: int | None = None


@dataclass(frozen=True)
class MemoryModule:
    """A DIMM that is there. ``channel`` is the letter or number in its locator, where one can be told."""

    locator: str | None = None
    channel: str | None = None
    size_mib: int | None = None
    speed_mts: int | None = None
    type: str | None = None


@dataclass(frozen=True)
class Memory:
    """System memory: ``total_mib`` is what the kernel has, ``installed_mib`` the sum of the modules.

    ``channels`` counts the populated ones; ``correctable`` and ``uncorrectable`` are EDAC's errors since boot.
    """

    total_mib: int | None = None
    installed_mib: int | None = None
    ecc: bool | None = None
    channels: int | None = None
    modules: tuple[MemoryModule, ...] = ()
    correctable: int | None = None
    uncorrectable: int | None = None


@dataclass(frozen=True)
class Disk:
    """A whole disk; ``address`` is the PCI address of an NVMe disk's own controller."""

    name: str
    model: str | None = None
    serial: str | None = None
    wwn: str | None = None
    size_mib: int | None = None
    rotational: bool | None = None
    address: str | None = None


@dataclass(frozen=True)
class Filesystem:
    """A mounted file system on a disk."""

    mount: str
    size_mib: int | None = None
    free_mib: int | None = None


@dataclass(frozen=True)
class Nic:
    """A network port that is hardware. ``speed_mbps`` is the negotiated speed, None without a cable."""

    name: str
    address: str | None = None
    mac: str | None = None
    speed_mbps: int | None = None
    carrier: bool | None = None


@dataclass(frozen=True)
class FirmwareSlot:
    """A slot as the firmware's tables name it (SMBIOS type 9). ``address``: what sits in it, or its port."""

    name: str
    address: str | None = None
    used: bool | None = None


@dataclass(frozen=True)
class LogLine:
    """A kind of line of the kernel's log since boot, and how often: an Xid, or an AER error.

    ``kind`` is ``xid``, ``aer-correctable``, ``aer-nonfatal`` or ``aer-fatal``; ``code`` the Xid's number.
    """

    kind: str
    address: str | None = None
    code: int | None = None
    count: int = 1
    text: str = ""


@dataclass(frozen=True)
class Drift:
    """One thing a role owns that is not as it left it. ``kind``: file, mode, setting, package or service."""

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
    cpu: Cpu = Cpu()
    memory: Memory = Memory()
    disks: tuple[Disk, ...] = ()
    filesystems: tuple[Filesystem, ...] = ()
    nics: tuple[Nic, ...] = ()
    slots: tuple[FirmwareSlot, ...] = ()
    kernel_log: tuple[LogLine, ...] | None = None
    """``None``: the log could not be read, so that nothing in it proves nothing."""
    taken: float | None = None
    """Unix time by the node's own clock."""

    @classmethod
    def from_json(cls, text: str | bytes) -> Observation:
        """Read what the probe printed; raises ObservationError when it is no observation."""
        return cls._read(document_from(text, SCHEMA, _PROGRAM))

    @classmethod
    def parse(cls, document: Any) -> Observation:
        """Read a document; raises ObservationError when it is no JSON object or has another schema."""
        return cls._read(checked(document, SCHEMA, _PROGRAM))

    @classmethod
    def _read(cls, document: dict[str, Any]) -> Observation:
        reader = _Reader()
        return cls(
            schema=SCHEMA,
            host=reader.host(table_of(document.get("host"))),
            driver=reader.driver(table_of(document.get("driver"))),
            pci={device.address: device for device in reader.pci(document)},
            gpus={gpu.address: gpu for gpu in reader.gpus(document)},
            managed=reader.managed(document),
            users_root=document.get("users_root") if isinstance(document.get("users_root"), bool) else None,
            cpu=reader.cpu(table_of(document.get("cpu"))),
            memory=reader.memory(table_of(document.get("memory"))),
            disks=tuple(reader.disks(document)),
            filesystems=tuple(reader.filesystems(document)),
            nics=tuple(reader.nics(document)),
            slots=tuple(reader.slots(document)),
            kernel_log=reader.kernel_log(document),
            taken=reader.number(document, "taken", "observation"),
            unread=(*unread_of(document), *reader.unread),
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


class _Reader(Values):
    """Reads the parts of an observation."""

    def host(self, table: dict[str, Any]) -> Host:
        return Host(
            hostname=self.text(table, "hostname", "host"),
            boot_id=self.text(table, "boot_id", "host"),
            kernel=self.text(table, "kernel", "host"),
            os_id=self.text(table, "os_id", "host"),
            os_version=self.text(table, "os_version", "host"),
            virtualisation=self.text(table, "virtualisation", "host"),
            uptime_seconds=self.number(table, "uptime_seconds", "host"),
            architecture=self.text(table, "architecture", "host"),
            vendor=self.text(table, "vendor", "host"),
            product=self.text(table, "product", "host"),
            board=self.text(table, "board", "host"),
            bios=self.text(table, "bios", "host"),
            secure_boot=self.flag(table, "secure_boot", "host"),
            iommu=self.flag(table, "iommu", "host"),
        )

    def driver(self, table: dict[str, Any]) -> Driver:
        return Driver(
            loaded=self.flag(table, "loaded", "driver"),
            version=self.text(table, "version", "driver"),
            flavour=self.text(table, "flavour", "driver"),
            nouveau=self.flag(table, "nouveau", "driver"),
            answers=self.flag(table, "answers", "driver"),
            library=self.text(table, "library", "driver"),
            installed=self.text(table, "installed", "driver"),
            installed_flavour=self.text(table, "installed_flavour", "driver"),
        )

    def link(self, value: Any, what: str) -> LinkReading:
        table = table_of(value)
        widths = {name: self.integer(table, name, what, WIDTHS) for name in ("width", "width_max")}
        names = ("gen", "gen_max", "gen_device_max", "gen_host_max")
        return LinkReading(**widths, **{name: self.integer(table, name, what, GENERATIONS) for name in names})

    def aer(self, value: Any) -> Mapping[str, Mapping[str, int]] | None:
        if not isinstance(value, dict):
            return None
        return {
            severity: {
                display(str(name)[:TEXT_LIMIT]): count
                for name, count in list(table_of(value.get(severity)).items())[:TEXT_LIMIT]
                if isinstance(count, int) and not isinstance(count, bool) and 0 <= count < 1 << 64
            }
            for severity in ("correctable", "nonfatal", "fatal")
            if severity in value
        }

    def pci(self, document: dict[str, Any]) -> Iterator[PciDevice]:
        for table in reversed(tables_of(document.get("pci"))):  # Of two with one address the first is kept.
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
                driver=self.text(table, "driver", what),
                numa_node=self.integer(table, "numa_node", what, range(4096)),
                iommu_group=self.integer(table, "iommu_group", what),
                bars_mib=self.integers(table, "bars_mib", what, _MEMORY_MIB),
                acs=self.texts(table, "acs", what),
            )

    def gpus(self, document: dict[str, Any]) -> Iterator[GpuReading]:
        for table in reversed(tables_of(document.get("gpus"))[:GPU_LIMIT]):
            address = self.address(table, "address", "gpus[]")
            if address is None:
                continue
            what = f"gpus[{address}]"
            yield GpuReading(
                address=address,
                name=self.text(table, "name", what),
                uuid=self.text(table, "uuid", what),
                pci_id=self.text(table, "pci_id", what),
                vbios=self.text(table, "vbios", what),
                memory_mib=self.integer(table, "memory_mib", what, _MEMORY_MIB),
                memory_used_mib=self.integer(table, "memory_used_mib", what),
                processes=self.integer(table, "processes", what),
                ecc=self.flag(table, "ecc", what),
                mig=self.flag(table, "mig", what),
                persistence=self.flag(table, "persistence", what),
                pstate=self.integer(table, "pstate", what, range(16)),
                idle=self.flag(table, "idle", what),
                link=self.link(table.get("link"), f"{what}.link"),
                bar1_mib=self.integer(table, "bar1_mib", what, _MEMORY_MIB),
                replays=self.integer(table, "replays", what),
                power=self.numbers(table, "power", what),
                clock_reasons=self.texts(table, "clock_reasons", what),
                temperature_c=self.integer(table, "temperature_c", what, range(1000)),
                recovery_action=self.text(table, "recovery_action", what),
                health=self.counters(table, "health", what),
            )

    def cpu(self, table: dict[str, Any]) -> Cpu:
        counts = {name: self.integer(table, name, "cpu", range(1, 1 << 16)) for name in ("sockets", "cores", "threads")}
        return Cpu(model=self.text(table, "model", "cpu"), **counts)

    def memory(self, table: dict[str, Any]) -> Memory:
        names = ("total_mib", "installed_mib", "channels", "correctable", "uncorrectable")
        return Memory(
            **{name: self.integer(table, name, "memory") for name in names},
            ecc=self.flag(table, "ecc", "memory"),
            modules=tuple(
                MemoryModule(
                    locator=self.text(item, "locator", "memory.modules[]"),
                    channel=self.text(item, "channel", "memory.modules[]"),
                    size_mib=self.integer(item, "size_mib", "memory.modules[]"),
                    speed_mts=self.integer(item, "speed_mts", "memory.modules[]"),
                    type=self.text(item, "type", "memory.modules[]"),
                )
                for item in tables_of(table.get("modules"))
            ),
        )

    def disks(self, document: dict[str, Any]) -> Iterator[Disk]:
        if not isinstance(document.get("disks"), list):  # Without a list of disks none is missing.
            self.unread.append(Unread("disks", "no list of disks"))
        for table in tables_of(document.get("disks")):
            name = self.text(table, "name", "disks[]")
            if name is None:
                continue
            what = f"disks[{name}]"
            yield Disk(
                name=name,
                **{key: self.text(table, key, what) for key in ("model", "serial", "wwn")},
                size_mib=self.integer(table, "size_mib", what),
                rotational=self.flag(table, "rotational", what),
                address=self.address(table, "address", what),
            )

    def filesystems(self, document: dict[str, Any]) -> Iterator[Filesystem]:
        for table in tables_of(document.get("filesystems")):
            mount = self.text(table, "mount", "filesystems[]")
            if mount is not None:
                sizes = {key: self.integer(table, key, f"filesystems[{mount}]") for key in ("size_mib", "free_mib")}
                yield Filesystem(mount=mount, **sizes)

    def nics(self, document: dict[str, Any]) -> Iterator[Nic]:
        for table in tables_of(document.get("nics")):
            name = self.text(table, "name", "nics[]")
            if name is None:
                continue
            what = f"nics[{name}]"
            yield Nic(
                name=name,
                address=self.address(table, "address", what),
                mac=self.text(table, "mac", what),
                speed_mbps=self.integer(table, "speed_mbps", what, range(1, 10**7)),
                carrier=self.flag(table, "carrier", what),
            )

    def slots(self, document: dict[str, Any]) -> Iterator[FirmwareSlot]:
        for table in tables_of(document.get("slots")):
            name = self.text(table, "name", "slots[]")
            if name is not None:
                address = self.address(table, "address", f"slots[{name}]")
                yield FirmwareSlot(name=name, address=address, used=self.flag(table, "used", f"slots[{name}]"))

    def kernel_log(self, document: dict[str, Any]) -> tuple[LogLine, ...] | None:
        if not isinstance(document.get("kernel_log"), list):
            self.wrong("kernel_log", document.get("kernel_log"))
            return None
        return tuple(
            LogLine(
                kind=self.text(table, "kind", "kernel_log[]") or "",
                address=self.address(table, "address", "kernel_log[]"),
                code=self.integer(table, "code", "kernel_log[]", range(10000)),
                count=self.integer(table, "count", "kernel_log[]") or 1,
                text=self.text(table, "text", "kernel_log[]") or "",
            )
            for table in tables_of(document.get("kernel_log"))
        )

    def managed(self, document: dict[str, Any]) -> Mapping[str, Managed]:
        if not isinstance(document.get("managed"), dict):
            self.wrong("managed", document.get("managed"))
        roles = list(table_of(document.get("managed")).items())[:TEXT_LIMIT]
        for role, table in roles:  # Without a list of differences nobody looked for any.
            if not isinstance(table_of(table).get("drift"), list):
                self.unread.append(Unread(f"managed.drift[{display(role)}]", "no list of differences"))
        return {
            display(role): Managed(
                inputs=self.text(table, "inputs", f"managed[{display(role)}]"),
                recorded=self.text(table, "recorded", f"managed[{display(role)}]"),
                drift=tuple(self.drift(item) for item in tables_of(table.get("drift"))),
            )
            for role, table in roles
            if isinstance(table, dict)
        }

    def drift(self, table: dict[str, Any]) -> Drift:
        texts = {name: self.text(table, name, "managed.drift") or "" for name in ("kind", "name", "expected", "found")}
        return Drift(**texts)
