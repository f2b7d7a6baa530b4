"""What is declared: the catalogue's boards and GPUs, builds, and rigs.

These are the shapes of the YAML files. Reading them is ``load``'s work, judging them ``lint``'s.
Every model refuses unknown keys and never converts a wrong type.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from rigdeploy.fleet.link import Link
from rigdeploy.fleet.secrets import Secret


def _read_link(value: Any) -> Any:
    return Link.parse(value) if isinstance(value, str) else value


LinkText = Annotated[
    Link,
    BeforeValidator(_read_link),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "pattern": r"^[1-6](\.0)? x(1|2|4|8|16)$", "examples": ["4.0 x16"]}),
]
PciId = Annotated[str, Field(pattern=r"^[0-9a-f]{4}:[0-9a-f]{4}$")]
PciAddress = Annotated[str, Field(pattern=r"^[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$")]
Watts = Annotated[int, Field(gt=0, le=20000)]
Count = Annotated[int, Field(gt=0, le=1024)]
Port = Annotated[int, Field(gt=0, le=65535)]
Seconds = Annotated[int, Field(gt=0, le=86400)]


class Model(BaseModel):
    """Base of every declared thing: immutable, strict, closed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True)


# --- catalogue -----------------------------------------------------------------------------


class Gpu(Model):
    """A graphics card as the catalogue knows it (``catalogue/gpus/ID.yml``).

    ``memory_mib`` lists the totals that nvidia-smi is known to print, per ECC state; ``ecc_on`` is
    empty for cards without ECC. ``link`` is the card's own limit.
    """

    id: str
    name: str
    architecture: Literal["pascal", "volta", "turing", "ampere", "ada", "hopper", "blackwell"]
    pci_ids: list[PciId]
    link: LinkText
    memory_gib: Count
    memory_mib: MemoryTotals
    power: PowerRange


class MemoryTotals(Model):
    """Known ``memory.total`` readings in MiB; the first of each list is the current driver's."""

    ecc_off: list[int]
    ecc_on: list[int] = []


class PowerRange(Model):
    """A card's power limit in watts: as shipped, and what nvidia-smi lets one set."""

    default: Watts
    minimum: Watts
    maximum: Watts


class BoardSlot(Model):
    """A slot of a board: the widest link it can carry and what feeds it."""

    link: LinkText
    attached: Literal["cpu", "chipset"] = "cpu"
    note: str = ""


class LaneGroup(Model):
    """Slots that share lanes: the widths in use there can not exceed ``lanes`` together."""

    slots: list[str]
    lanes: Count


class Board(Model):
    """A mainboard as the catalogue knows it (``catalogue/boards/ID.yml``).

    ``watts`` is what board, fans and drives draw beside CPU and cards (an estimate for the PSU sum).
    """

    id: str
    name: str
    bmc: str | None = None
    memory_channels: Count
    memory_max_gib: Count
    watts: Watts
    slots: dict[str, BoardSlot]
    lane_groups: list[LaneGroup] = []


# --- build -----------------------------------------------------------------------------------


class Cpu(Model):
    """The processor: its name, cores, and thermal design power."""

    model: str
    cores: Count
    watts: Watts | None = None


class Memory(Model):
    """System memory; ``None`` where the build does not say."""

    size_gib: Count
    ecc: bool | None = None
    channels: Count | None = None


class Nic(Model):
    """``count`` network ports of one speed."""

    speed_gbps: Annotated[float, Field(gt=0)]
    count: Count = 1


class Disk(Model):
    """A disk by size, and by serial number where it must be that very one."""

    size_gb: Annotated[int, Field(gt=0)]
    serial: str | None = None


class Slot(Model):
    """A card in a slot and the link it was bought for.

    ``correctable_errors_per_hour`` is the allowance of that riser under load. ``address`` pins the
    slot to a PCI address where the board does not name its slots.
    """

    gpu: str
    link: LinkText
    power_limit_watts: Watts | None = None
    correctable_errors_per_hour: Annotated[int, Field(ge=0)] = 0
    address: PciAddress | None = None


class Build(Model):
    """What was assembled (``builds/NAME.yml``, or shipped); ``gpu`` and ``board`` are catalogue ids."""

    name: str
    description: str = ""
    board: str
    cpu: Cpu | None = None
    memory: Memory | None = None
    psu_watts: Watts | None = None
    nics: list[Nic] = []
    disks: list[Disk] = []
    slots: dict[str, Slot]
    vram_gib: Count


# --- rig -------------------------------------------------------------------------------------


class Ssh(Model):
    """How to log in. ``password`` is for the first contact alone: it installs the key."""

    user: str = "root"
    port: Port = 22
    private_key: str | None = None
    jump: str | None = None
    password: Secret | None = None


class IpmiPower(Model):
    """A BMC on an IPMI 2.0 wire. ``timeout_seconds`` bounds one change of power state."""

    driver: Literal["ipmi"]
    address: str
    port: Port = 623
    username: str
    password: Secret
    cipher: Literal["auto", 3, 17] = "auto"
    privilege: Literal["operator", "administrator"] = "administrator"
    timeout_seconds: Seconds = 60


class ManualPower(Model):
    """A person at the button. ``timeout_seconds`` is how long that person is waited for."""

    driver: Literal["manual"]
    timeout_seconds: Seconds = 900


Power = Annotated[IpmiPower | ManualPower, Field(discriminator="driver")]


class OperatingSystem(Model):
    """The image to install; absent, the installed system is kept."""

    image: str


class Mirror(Model):
    """A package repository: its URL, and the file that holds its public key (ASCII armour)."""

    url: Annotated[str, Field(pattern=r"^https?://")]
    key: str


class GpuStack(Model):
    """The NVIDIA stack; ``driver`` is a branch, ``modules: auto`` follows the cards' architecture."""

    driver: Annotated[str, Field(pattern=r"^[0-9]{3}$")]
    modules: Literal["auto", "open", "proprietary"] = "auto"
    mirror: Mirror | None = None
    cuda: Annotated[str, Field(pattern=r"^[0-9]{2}\.[0-9]$")] | None = None
    containers: Literal["docker", "podman"] | None = None


class Serve(Model):
    """The model to serve and the engine that serves it."""

    engine: Literal["vllm", "ollama"]
    model: str
    context: Annotated[int, Field(gt=0)] | None = None


class BaseSystem(Model):
    """The node's own configuration; ``hostname`` is the rig's name when absent."""

    hostname: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")] | None = None
    timezone: str = "Etc/UTC"
    ntp_servers: list[str] = []
    packages: list[str] = []
    ssh_hardening: bool = False


class Rig(Model):
    """One rig of the fleet: where it is, what it is, how it is powered, what it should run.

    ``build`` is the assembled build with the rig's own ``override`` merged in (by ``load``).
    """

    name: str
    address: str
    build: Build
    power: Power
    ssh: Ssh = Ssh()
    os: OperatingSystem | None = None
    base: BaseSystem = BaseSystem()
    gpu_stack: GpuStack | None = None
    serve: Serve | None = None
    training: bool = False


Gpu.model_rebuild()
