"""What is declared: the catalogue's boards and GPUs, builds, and rigs.

These are the shapes of the YAML files. Reading them is ``load``'s work, judging them ``lint``'s.
Every model refuses unknown keys and never converts a wrong type.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from rigdeploy.fleet.link import Link
from rigdeploy.fleet.secrets import Secret


def _read_link(value: Any) -> Any:
    return Link.parse(value) if isinstance(value, str) else value


def _read_branch(value: Any) -> Any:
    # 580 without quotes says the same as "580"; a bool is an int to Python, and is none here.
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _beside_inventory(value: str, info: ValidationInfo) -> str:
    base = (info.context or {}).get("base")
    return str(Path(base, Path(value).expanduser())) if base else value


def _checked_url(value: str) -> str:
    parts = urlsplit(value)
    if not parts.hostname or parts.port == 0:  # reading a port that is no number raises by itself
        raise ValueError("no host, or no such port")
    return value


LinkText = Annotated[
    Link,
    BeforeValidator(_read_link),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "pattern": r"^[1-6](\.0)? x(1|2|4|8|16)$", "examples": ["4.0 x16"]}),
]
LocalFile = Annotated[str, AfterValidator(_beside_inventory)]
"""A file on this machine; a relative path starts at the inventory directory (validation context ``base``)."""

Branch = Annotated[
    Annotated[str, Field(pattern=r"^[0-9]{3}$")],
    BeforeValidator(_read_branch),
    WithJsonSchema(
        {"type": ["string", "integer"], "pattern": "^[0-9]{3}$", "description": 'a driver branch, such as "580"'}
    ),
]
"""A driver branch: ``"580"``."""

NAME_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
NAME_RULE = "lower-case letters, digits and dashes, 63 at most, no dash at either end"
Name = Annotated[str, Field(pattern=NAME_PATTERN, description=NAME_RULE)]
"""A name that can be a host name, a group name and a file name (RFC 1123's label, lower case)."""

Host = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9:]([A-Za-z0-9.:_-]{0,251}[A-Za-z0-9])?$", description="a host name or an IP address"),
]
"""The first character can not be a dash, which ssh would take for an option."""

JumpHost = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.,:@\[\]-]*$", description="user@host:port, several separated by commas"),
]
"""What ssh's ProxyJump takes."""

PciId = Annotated[str, Field(pattern=r"^[0-9a-f]{4}:[0-9a-f]{4}$", description="such as 10de:2204")]
PciAddress = Annotated[
    str,
    Field(pattern=r"^[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$", description="such as 0000:41:00.0, in lower case"),
]
TimeZone = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}$", description="a time zone, such as Europe/Berlin")
]
PackageName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9+.-]+$", description="a Debian package name")]
Watts = Annotated[int, Field(gt=0, le=20000)]
Count = Annotated[int, Field(gt=0, le=1024)]
Gibibytes = Annotated[int, Field(gt=0, le=65536)]
Port = Annotated[int, Field(gt=0, le=65535)]
Seconds = Annotated[int, Field(gt=0, le=86400)]


class Model(BaseModel):
    """Base of every declared thing: immutable, strict, closed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True)


# --- catalogue -----------------------------------------------------------------------------


class Gpu(Model):
    """A graphics card as the catalogue knows it (``catalogue/gpus/ID.yml``).

    ``name`` is what nvidia-smi prints, ``memory_gib`` the nominal size, ``link`` the card's own limit.
    ``modified`` marks a card rebuilt with more memory than its maker sold: it shows the PCI ids and the
    name of the original. ``nvlink``: whether it has a connector for a bridge.
    """

    id: str
    name: str
    architecture: Literal["pascal", "volta", "turing", "ampere", "ada", "hopper", "blackwell"]
    pci_ids: list[PciId]
    link: LinkText
    memory_gib: Gibibytes
    memory_mib: MemoryTotals
    power: PowerRange
    modified: bool = False
    nvlink: bool = False


class MemoryTotals(Model):
    """``memory.total`` in MiB as nvidia-smi prints it; the first of each list is the current driver's.

    An empty list: no reading in that ECC state is known, or the card has no such state.
    """

    ecc_off: list[int] = []
    ecc_on: list[int] = []

    @model_validator(mode="after")
    def _something_is_known(self) -> MemoryTotals:
        if not self.ecc_off and not self.ecc_on:
            raise ValueError("neither ecc_off nor ecc_on lists a reading")
        return self


class PowerRange(Model):
    """A card's power limit in watts: as shipped, and the least and most that any vendor's card allows."""

    default: Watts
    minimum: Watts
    maximum: Watts


class BoardSlot(Model):
    """A slot of a board: the widest link it can carry and what feeds it.

    ``designations`` are the other names that the firmware's tables (SMBIOS type 9) give the slot.
    """

    link: LinkText
    attached: Literal["cpu", "chipset"] = "cpu"
    designations: list[str] = []
    note: str = ""


class BiosMenu(Model):
    """Where the board's firmware setup has a setting, in its own words; empty where that is not known."""

    bifurcation: str = ""
    link_speed: str = ""
    resizable_bar: str = ""
    above_4g_decoding: str = ""


class LaneGroup(Model):
    """Slots that share lanes: the widths in use there can not exceed ``lanes`` together."""

    slots: list[str]
    lanes: Count


class BmcQuirks(Model):
    """What is known of a BMC's boot overrides by IPMI beforehand.

    ``boot_efi`` is what is asked for where nobody says EFI or legacy, ``boot_dropped`` what it takes and does not keep.
    """

    boot_efi: bool | None = None
    boot_dropped: list[Literal["valid", "efi", "persistent"]] | None = None


class BoardBmc(Model):
    """A board's own BMC: its chip, and what of it differs from other BMCs."""

    chip: str
    quirks: BmcQuirks = BmcQuirks()


class Board(Model):
    """A mainboard as the catalogue knows it (``catalogue/boards/ID.yml``).

    ``watts`` is what board, fans and drives draw beside CPU and cards (an estimate for the PSU sum). ``dmi`` lists the
    names by which the board calls itself in ``/sys/class/dmi/id/board_name``.
    """

    id: str
    name: str
    dmi: list[str] = []
    bmc: BoardBmc | None = None
    bios: BiosMenu = BiosMenu()
    memory_channels: Count
    memory_max_gib: Gibibytes
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

    size_gib: Gibibytes
    ecc: bool | None = None
    channels: Count | None = None


class Nic(Model):
    """``count`` network ports of one speed."""

    speed_gbps: Annotated[float, Field(gt=0)]
    count: Count = 1


class Disk(Model):
    """A disk by size, and by serial number where it must be that very one."""

    size_gb: Annotated[int, Field(gt=0, le=10**6)]
    serial: str | None = None


class Slot(Model):
    """A card in a slot and the link it was bought for.

    ``power_limit_watts`` and ``clock_limit_mhz`` (of the graphics clock) are set where they are declared.
    ``correctable_errors_per_hour`` is the allowance of that riser under load; absent, what a sound link of that kind
    may show. ``address`` pins the slot to a PCI address where the board does not name its slots.
    """

    gpu: str
    link: LinkText
    power_limit_watts: Watts | None = None
    clock_limit_mhz: Annotated[int, Field(ge=200, le=5000)] | None = None
    correctable_errors_per_hour: Annotated[int, Field(ge=0)] | None = None
    address: PciAddress | None = None


class Build(Model):
    """What was assembled (``builds/NAME.yml``, or shipped); ``gpu`` and ``board`` are catalogue ids.

    ``resizable_bar`` and ``peer_to_peer`` are judged only where they are declared. ``nvlink`` lists the pairs of slots
    whose cards a bridge joins.
    """

    name: str
    description: str = ""
    board: str
    cpu: Cpu | None = None
    memory: Memory | None = None
    psu_watts: Watts | None = None
    nics: list[Nic] = []
    disks: list[Disk] = []
    slots: dict[str, Slot]
    vram_gib: Gibibytes
    resizable_bar: bool | None = None
    peer_to_peer: bool | None = None
    nvlink: list[Annotated[list[str], Field(min_length=2, max_length=2)]] = []


# --- rig -------------------------------------------------------------------------------------


class Ssh(Model):
    """How to log in. ``password`` is for the first contact alone: it installs the key."""

    user: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,31}$", description="a login name")] = "root"
    port: Port = 22
    private_key: LocalFile | None = None
    jump: JumpHost | None = None
    password: Secret | None = None


Mac = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$", description="such as 02:00:5e:10:00:01")]
Url = Annotated[
    Annotated[str, Field(pattern=r"^https?://[^\s\"'@]+$", description="http:// or https://, without a login")],
    AfterValidator(_checked_url),
]
HeaderName = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$", description="a header's name, such as Authorization")
]


class IpmiPower(Model):
    """A BMC on an IPMI 2.0 wire. ``timeout_seconds`` bounds one change of power state.

    ``driver: ipmi`` speaks RMCP+ itself, ``ipmitool`` runs the tool of that name.
    """

    driver: Literal["ipmi", "ipmitool"]
    address: Host
    port: Port = 623
    username: str
    password: Secret
    cipher: Literal["auto", 3, 17] = "auto"
    privilege: Literal["operator", "administrator"] = "administrator"
    timeout_seconds: Seconds = 60


class RedfishPower(Model):
    """A BMC's Redfish service. ``system`` is needed only where the service has several.

    ``certificate`` is the file of the authority (or of the BMC's own certificate) that https is checked against;
    absent, the system's authorities are asked. ``verify: false`` takes any certificate, and says so at each use.
    """

    driver: Literal["redfish"]
    url: Url
    username: str
    password: Secret
    system: str | None = None
    certificate: LocalFile | None = None
    verify: bool = True
    timeout_seconds: Seconds = 120


class WolPower(Model):
    """Wake-on-LAN to switch on, ssh to shut down; no BMC. ``broadcast`` is where the magic packet is sent."""

    driver: Literal["wol"]
    mac: Mac
    broadcast: Host = "255.255.255.255"
    port: Port = 9
    timeout_seconds: Seconds = 300


class WebhookCall(Model):
    """One call of a smart plug or PDU. In ``url``, ``body`` and ``headers``, ``{rig}`` stands for the rig's name.

    ``headers`` may be secret references; all are kept as secrets.
    """

    url: Url
    method: Literal["GET", "POST", "PUT", "PATCH"] = "POST"
    body: str | None = None
    headers: dict[HeaderName, Secret] = {}


class WebhookStatus(WebhookCall):
    """How to read the state: ``says_on`` and ``says_off`` are regular expressions searched for in the answer's text."""

    method: Literal["GET", "POST", "PUT", "PATCH"] = "GET"
    says_on: str
    says_off: str


class WebhookPower(Model):
    """A smart plug or PDU: anything with URLs for on and off. Without ``status`` the rig's ssh port is looked at.

    No key here is called ``on`` or ``off``: without quotes, YAML 1.1 reads those as true and false.
    """

    driver: Literal["webhook"]
    switch_on: WebhookCall
    switch_off: WebhookCall
    status: WebhookStatus | None = None
    certificate: LocalFile | None = None
    timeout_seconds: Seconds = 120


class ManualPower(Model):
    """A person at the button. ``timeout_seconds`` is how long that person is waited for."""

    driver: Literal["manual"]
    timeout_seconds: Seconds = 900


class Bmc(Model):
    """How the BMC itself is to be set: what happens when mains power comes back, which sensors may be out of range.

    ``close`` lists what is closed where it is open: cipher suite 0, users without a name, sessions of IPMI 1.5.
    ``quirks`` come before what was learned of this BMC, and that before what the catalogue says of its board.
    """

    power_restore: Literal["always-on", "always-off", "previous"] | None = None
    close: list[Literal["cipher_0", "null_user", "ipmi_1_5"]] = []
    ignore_sensors: list[str] = []
    quirks: BmcQuirks = BmcQuirks()

    @property
    def settings(self) -> list[str]:
        """The names of the settings that are declared."""
        return [name for name in ("power_restore", "close") if getattr(self, name)]


BMC_DRIVERS = frozenset({"ipmi", "ipmitool", "redfish"})
"""Ways of switching behind which a BMC is, with settings, sensors and an event log of its own."""

Power = Annotated[IpmiPower | RedfishPower | WolPower | WebhookPower | ManualPower, Field(discriminator="driver")]


class OperatingSystem(Model):
    """The image to install; absent, the installed system is kept."""

    image: str


class Mirror(Model):
    """A package repository: its URL, and the file that holds its public key (ASCII armour)."""

    url: Annotated[
        str, Field(pattern=r"^https?://[^\s\"'@]+$", description="an http:// or https:// address, without a login")
    ]
    key: LocalFile


CudaVersion = Annotated[str, Field(pattern=r"^[0-9]{2}\.[0-9]$", description='a CUDA version, such as "13.0"')]


def _one_or_more(value: Any) -> Any:
    # A number is one too: that it wants quotes is said of the version, not of a list.
    return [value] if isinstance(value, (str, int, float)) else value


class Frameworks(Model):
    """A Python environment for work on the cards; ``pytorch`` is a version (``"2.9"``) or a full one (``"2.9.1"``).

    ``index`` is the package index that the wheels come from; absent, the public one.
    """

    pytorch: Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]+(\.[0-9]+)?$", description='a version, such as "2.9"')]
    index: Url | None = None
    deepspeed: bool = False
    llama_factory: bool = False


class GpuStack(Model):
    """The NVIDIA stack; ``driver`` is a branch, ``modules: auto`` follows the cards' architecture.

    ``source`` is where driver and toolkit come from: NVIDIA's own repository, the distribution, or a ``mirror``; when
    absent, the mirror where there is one, and NVIDIA's otherwise. ``cuda`` may name several toolkits: they live
    side by side.
    """

    driver: Branch
    modules: Literal["auto", "open", "proprietary"] = "auto"
    source: Literal["nvidia", "distro", "mirror"] | None = None
    mirror: Mirror | None = None
    cuda: Annotated[
        list[CudaVersion],
        BeforeValidator(_one_or_more),
        WithJsonSchema(
            {
                "description": 'one CUDA version, such as "13.0", or several',
                "anyOf": [
                    {"type": "string", "pattern": r"^[0-9]{2}\.[0-9]$"},
                    {"type": "array", "items": {"type": "string", "pattern": r"^[0-9]{2}\.[0-9]$"}},
                ],
            }
        ),
    ] = []
    cudnn: bool = False
    nccl: bool = False
    containers: Literal["docker", "podman"] | None = None
    frameworks: Frameworks | None = None
    metrics: bool = False

    @property
    def package_source(self) -> str:
        """Where the packages come from, after the default."""
        return self.source or ("mirror" if self.mirror is not None else "nvidia")


class Serve(Model):
    """The model to serve and the engine that serves it."""

    engine: Literal["vllm", "ollama"]
    model: str
    context: Annotated[int, Field(gt=0)] | None = None


PublicKey = Annotated[
    str,
    Field(
        pattern=r"^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp[0-9]+|sk-[a-z0-9@.-]+) [A-Za-z0-9+/]+=*( [^\r\n]*)?$",
        description="one line of a .pub file",
    ),
]


class User(Model):
    """A person's account on the node: log-in by these public keys alone; ``sudo`` without a password."""

    name: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_-]{0,31}$", description="a login name")]
    keys: Annotated[list[PublicKey], Field(min_length=1)]
    sudo: bool = False


class DataDisk(Model):
    """The disk that models are kept on, by its serial number (or WWN).

    It is formatted only with ``format: if-empty``, and only when nothing at all is on it.
    """

    serial: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,64}$", description="as lsblk -o SERIAL,WWN prints it")]
    mount: Annotated[
        str, Field(pattern=r"^(/[A-Za-z0-9_][A-Za-z0-9._-]*)+$", description="an absolute path without . and ..")
    ] = "/srv/models"
    filesystem: Literal["ext4", "xfs"] = "ext4"
    format: Literal["never", "if-empty"] = "never"


class BaseSystem(Model):
    """The node's own configuration; ``hostname`` is the rig's name when absent.

    ``security_updates``: whether the system installs them by itself, kernel and driver excepted; null leaves that as it
    is.
    """

    hostname: Name | None = None
    timezone: TimeZone = "Etc/UTC"
    ntp_servers: list[Host] = []
    packages: list[PackageName] = []
    ssh_hardening: bool = False
    users: list[User] = []
    security_updates: bool | None = None
    data_disk: DataDisk | None = None


class VerifySettings(Model):
    """How the rig is put under load to be judged. ``active``: whether ``up`` ends with it.

    ``memory_share`` is the part of each card's memory that is written and read back, ``seconds`` bounds the whole.
    """

    active: bool = True
    memory_share: Annotated[float, Field(ge=0, le=0.95)] = 0.1
    seconds: Annotated[int, Field(ge=5, le=3600)] = 120


class RigSettings(Model):
    """What a rig says beside its build: where it is, how it is powered, what it should run."""

    address: Host
    power: Power
    bmc: Bmc = Bmc()
    ssh: Ssh = Ssh()
    os: OperatingSystem | None = None
    base: BaseSystem = BaseSystem()
    gpu_stack: GpuStack | None = None
    serve: Serve | None = None
    verify: VerifySettings = VerifySettings()
    training: bool = False


class RigEntry(RigSettings):
    """One rig as ``fleet.yml`` writes it.

    ``build`` names a build; ``override`` is merged over it, key by key (lists are replaced, null removes).
    """

    build: Name
    override: dict[str, Any] = {}


class Rig(RigSettings):
    """One rig of the fleet; ``build`` is the assembled build with the rig's own ``override`` merged in.

    ``board_quirks`` is what the catalogue says of its board's BMC.
    """

    name: Name
    build: Build
    board_quirks: BmcQuirks = BmcQuirks()


class FleetFile(Model):
    """The file ``fleet.yml``, an Ansible inventory source. Keys that begin with ``x-`` are yours."""

    plugin: Literal["rigdeploy"]
    rigs: dict[Name, RigEntry]


Gpu.model_rebuild()
