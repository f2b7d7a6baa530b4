"""Random rigs as physical things: slots with ports and wires, cards that train links; what a probe would read of them.

``expected`` says what a verdict must be from the physical truth alone; it reads neither the observation nor any rule.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from rigdeploy.fleet.catalogue import Catalogue
from rigdeploy.fleet.link import Link
from rigdeploy.fleet.models import Board, BoardSlot, Build, Gpu, ManualPower, Rig, Slot

LANES = (1, 4, 8, 16)
GB_PER_LANE = {1: 0.25, 2: 0.5, 3: 0.985, 4: 1.969, 5: 3.938}
ERRORS_PER_MINUTE_AND_LANE = {1: 0.15, 2: 0.3, 3: 0.48, 4: 0.96, 5: 1.92}
BOOT = "0e6b7a52-9f0c-4ed7-a3a3-2d6c3b1f7c11"
FATAL, NOTED, HARMLESS = (79, 48, 62, 119, 74), (63, 92, 94, 154, 999), (13, 31, 43, 45)

Verdict = tuple[str, str]
"""Status and cause."""


@dataclass
class Card:
    """A card as it is: ``lanes`` and ``gen`` are its own limit, ``memory`` in MiB as its driver counts it."""

    gpu: Gpu
    lanes: int
    gen: int
    memory: int
    ecc: bool | None
    memory_verdict: Verdict = ("PASS", "")
    xid: int | None = None
    bad_words: int = 0
    efficiency: float = 0.85


@dataclass
class Socket:
    """A slot of the board and what hangs below its port.

    ``lanes`` and ``gen`` are the port's limit, ``wire_lanes`` and ``wire_gen`` what riser and contacts let through.
    ``uplinks`` are the links above the port: lanes, and the limits of their two ends.
    """

    name: str
    lanes: int
    gen: int
    chipset: bool = False
    wire_lanes: int = 16
    wire_gen: int = 5
    uplinks: list[tuple[int, int, int]] = field(default_factory=list)
    card: Card | None = None
    working: bool = False
    errors: tuple[int, int] = (0, 0)
    nonfatal: int = 0
    fatal: int = 0
    replays: int = 0
    load_errors: int = 0
    bus: str = ""
    port: str = ""

    @property
    def trained(self) -> int:
        """The lanes that come up."""
        assert self.card is not None
        return min(self.lanes, self.wire_lanes, self.card.lanes)

    @property
    def full_gen(self) -> int:
        """The generation at work."""
        assert self.card is not None
        return min(self.gen, self.wire_gen, self.card.gen)

    @property
    def address(self) -> str:
        return f"0000:{self.bus}:00.0"


@dataclass
class Machine:
    """One rig: what is declared, and what is really there."""

    rig: Rig
    catalogue: Catalogue
    sockets: list[Socket]
    named: bool
    pinned: bool
    virtual: bool
    uptime: float
    loaded: bool
    load_seconds: float = 8.0

    def socket(self, name: str) -> Socket:
        return next(socket for socket in self.sockets if socket.name == name)


# --- making one ------------------------------------------------------------------------------------------------


def machine(seed: int, shipped: Catalogue) -> Machine:
    """A random machine: mostly as declared, with up to three things wrong."""
    dice = random.Random(seed)
    gpus = {name: gpu for name, gpu in shipped.gpus.items() if not gpu.modified}
    names = [f"PCIE{number}" for number in range(1, dice.randint(2, 9))]
    attached = {name: dice.random() < 0.2 for name in names}
    sockets = []
    for name in names:
        chipset = attached[name]
        limit = Link(3, dice.choice((1, 4))) if chipset else Link(dice.choice((3, 4, 5)), dice.choice((8, 16)))
        sockets.append(Socket(name, limit.width, limit.gen, chipset))
    board = Board(
        id="random",
        name="Random Board",
        memory_channels=8,
        memory_max_gib=2048,
        watts=50,
        slots={
            socket.name: BoardSlot(link=Link(socket.gen, socket.lanes), attached="chipset" if socket.chipset else "cpu")
            for socket in sockets
        },
    )
    used = sorted(dice.sample(range(len(names)), dice.randint(1, min(6, len(names)))))
    declared = {}
    kinds = dice.sample(sorted(gpus), dice.choice((1, 1, 2)))
    for index in used:
        socket, gpu = sockets[index], gpus[dice.choice(kinds)]
        socket.card = whole(gpu)
        link = Link(min(socket.gen, gpu.link.gen), min(socket.lanes, gpu.link.width))
        allowance = dice.choice((None, None, 0, 36, 400))
        declared[socket.name] = Slot(gpu=gpu.id, link=link, correctable_errors_per_hour=allowance)
        if dice.random() < 0.3:  # A wire that carries less than the card could is right if it carries what is declared.
            socket.wire_lanes = link.width
    naming = dice.random()
    made = Machine(
        rig=Rig(
            name="random",
            address="192.0.2.1",
            power=ManualPower(driver="manual"),
            build=Build(
                name="random",
                board="random",
                slots=declared,
                vram_gib=sum(shipped.gpus[slot.gpu].memory_gib for slot in declared.values()),
            ),
        ),
        catalogue=Catalogue({"random": board}, shipped.gpus, {}),
        sockets=sockets,
        named=naming < 0.6,
        pinned=0.6 <= naming < 0.8,
        virtual=dice.random() < 0.1,
        uptime=dice.choice((300.0, 1800.0, 86400.0, 30 * 86400.0)),
        loaded=dice.random() < 0.5,
    )
    place(made, dice)
    for socket in made.sockets:
        if dice.random() < 0.25:
            socket.uplinks = [(16, 5, 5)]
        if socket.card is not None and dice.random() < 0.4:
            socket.working = True
    for _ in range(dice.choice((0, 1, 1, 2, 3))):
        dice.choice(FAULTS)(made, dice)
    if made.pinned:
        pin(made)
    elif not made.named and len(best_ways(made)) > 1:
        made.named = True  # Two seatings contradict the declaration equally: only a name can tell.
    return made


def whole(gpu: Gpu) -> Card:
    """A sound card of that model."""
    ecc = None if not gpu.memory_mib.ecc_on else not gpu.memory_mib.ecc_off
    totals = gpu.memory_mib.ecc_on if ecc else gpu.memory_mib.ecc_off
    return Card(gpu, gpu.link.width, gpu.link.gen, totals[0], ecc)


def place(made: Machine, dice: random.Random) -> None:
    """Give every socket a bus, in the order of the board where nothing else tells the slots apart."""
    buses = sorted(dice.sample(range(0x10, 0x90), len(made.sockets)))
    if made.named or made.pinned:
        dice.shuffle(buses)
    for index, (socket, bus) in enumerate(zip(made.sockets, buses, strict=True)):
        socket.bus = f"{bus:02x}"
        # 1c and 1d are where Intel has its chipset's root ports.
        device = 0x1C + index // 8 if socket.chipset else index + 1
        socket.port = f"0000:00:{device:02x}.{index % 8 if socket.chipset else 0}"


def pin(made: Machine) -> None:
    slots = {
        name: slot.model_copy(update={"address": made.socket(name).address})
        for name, slot in made.rig.build.slots.items()
    }
    build = made.rig.build.model_copy(update={"slots": slots})
    made.rig = made.rig.model_copy(update={"build": build})


# --- what can be wrong with one ----------------------------------------------------------------------------------


def filled(made: Machine, dice: random.Random) -> Socket | None:
    """Any socket that is declared and still holds a card."""
    found = [made.socket(name) for name in made.rig.build.slots if made.socket(name).card is not None]
    return dice.choice(found) if found else None


def bad_riser(made: Machine, dice: random.Random) -> None:
    if socket := filled(made, dice):
        socket.wire_lanes = dice.choice(LANES)


def slow_riser(made: Machine, dice: random.Random) -> None:
    if socket := filled(made, dice):
        socket.wire_gen = dice.choice((1, 2, 3))


def bifurcated(made: Machine, dice: random.Random) -> None:
    if socket := filled(made, dice):
        socket.lanes = dice.choice(LANES)


def slow_port(made: Machine, dice: random.Random) -> None:
    if socket := filled(made, dice):
        socket.gen = dice.choice((1, 2, 3))


def narrow_card(made: Machine, dice: random.Random) -> None:
    if (socket := filled(made, dice)) and socket.card:
        socket.card.lanes = dice.choice((4, 8))


def missing(made: Machine, dice: random.Random) -> None:
    if socket := filled(made, dice):
        socket.card = None


def other_model(made: Machine, dice: random.Random) -> None:
    if (socket := filled(made, dice)) and socket.card:
        ids = set(socket.card.gpu.pci_ids)
        others = [gpu for gpu in made.catalogue.gpus.values() if not gpu.modified and not ids & set(gpu.pci_ids)]
        socket.card = whole(dice.choice(others))


def extra(made: Machine, dice: random.Random) -> None:
    free = [socket for socket in made.sockets if socket.name not in made.rig.build.slots]
    if free:
        dice.choice(free).card = whole(made.catalogue.gpus["rtx-3090"])


def swapped(made: Machine, dice: random.Random) -> None:
    sockets = [made.socket(name) for name in made.rig.build.slots]
    if len(sockets) > 1:
        one, other = dice.sample(sockets, 2)
        one.card, other.card = other.card, one.card


def lost_memory(made: Machine, dice: random.Random) -> None:
    socket = filled(made, dice)
    if socket and socket.card and socket.card.memory_verdict[0] == "PASS":
        socket.card.memory = int(socket.card.gpu.memory_gib * 1024 * 0.75)
        socket.card.memory_verdict = ("FAIL", "memory-missing")
        known = [
            total
            for gpu in made.catalogue.gpus.values()
            if gpu.id != socket.card.gpu.id and set(gpu.pci_ids) & set(socket.card.gpu.pci_ids)
            for total in (*gpu.memory_mib.ecc_off, *gpu.memory_mib.ecc_on)
        ]
        if any(abs(socket.card.memory - total) <= total * 0.1 for total in known):
            socket.card.memory_verdict = ("FAIL", "other-memory")


def rebuilt(made: Machine, dice: random.Random) -> None:
    """Twice the memory on the same card, as it is known of some models."""
    for name in made.rig.build.slots:
        card = made.socket(name).card
        mod = {"rtx-4090": "rtx-4090-48gb", "rtx-3080": "rtx-3080-20gb"}.get(card.gpu.id) if card else None
        if card and mod and card.memory_verdict[0] == "PASS":
            card.memory = made.catalogue.gpus[mod].memory_mib.ecc_off[0]
            card.memory_verdict = ("FAIL", "other-memory")


def ecc_switched_on(made: Machine, dice: random.Random) -> None:
    socket = filled(made, dice)
    if socket and socket.card and socket.card.ecc is False and socket.card.memory_verdict[0] == "PASS":
        socket.card.ecc, socket.card.memory = True, socket.card.gpu.memory_mib.ecc_on[0]


def some_errors(made: Machine, dice: random.Random) -> None:
    if socket := filled(made, dice):
        slot = made.rig.build.slots[socket.name]
        allowed = allowed_errors(slot, made.uptime / 3600)
        socket.errors = (dice.choice((0, allowed, allowed + 1, 5 * allowed + 3)), dice.choice((0, 1)))


def grave_errors(made: Machine, dice: random.Random) -> None:
    if socket := filled(made, dice):
        socket.nonfatal, socket.fatal = dice.choice(((1, 0), (0, 1), (2, 2)))


def some_replays(made: Machine, dice: random.Random) -> None:
    if socket := filled(made, dice):
        allowed = allowed_replays(made.rig.build.slots[socket.name], made.uptime / 60)
        socket.replays = dice.choice((1, allowed, allowed + 1))


def xid(made: Machine, dice: random.Random) -> None:
    if (socket := filled(made, dice)) and socket.card:
        socket.card.xid = dice.choice((*FATAL, *NOTED, *HARMLESS))


def narrow_uplink(made: Machine, dice: random.Random) -> None:
    if socket := filled(made, dice):
        socket.uplinks = [(dice.choice(LANES), dice.choice((2, 3, 4, 5)), dice.choice((3, 4, 5))), (16, 5, 5)]


def behind_chipset(made: Machine, dice: random.Random) -> None:
    """The slot is fed by the chipset, whatever is known about the board."""
    if socket := filled(made, dice):
        index = made.sockets.index(socket)
        socket.chipset, socket.port = True, f"0000:00:{0x1C + index // 8:02x}.{index % 8}"


def slow_copies(made: Machine, dice: random.Random) -> None:
    if (socket := filled(made, dice)) and socket.card:
        socket.card.efficiency = dice.choice((0.3, 0.5, 0.69, 0.71, 0.9))


def bad_memory(made: Machine, dice: random.Random) -> None:
    if (socket := filled(made, dice)) and socket.card:
        socket.card.bad_words = dice.choice((1, 4096))


def errors_under_load(made: Machine, dice: random.Random) -> None:
    if socket := filled(made, dice):
        allowed = allowed_errors(made.rig.build.slots[socket.name], made.load_seconds / 3600)
        socket.load_errors = dice.choice((1, allowed, allowed + 1))


FAULTS = [
    bad_riser, slow_riser, bifurcated, slow_port, narrow_card, missing, other_model, extra, swapped, lost_memory,
    rebuilt, ecc_switched_on, some_errors, grave_errors, some_replays, xid, narrow_uplink, behind_chipset, slow_copies,
    bad_memory, errors_under_load,
]  # fmt: skip


# --- what a probe would read -------------------------------------------------------------------------------------


def observation(made: Machine) -> dict[str, Any]:
    """The probe's document of that machine, as JSON data."""
    pci: list[dict[str, Any]] = [
        {"address": "0000:f8:00.0", "vendor": "144d", "device": "a80a", "class": "010802", "parent": None, "slot": None,
         "link": {"width": 4, "width_max": 4, "gen": 4, "gen_max": 4}, "aer": None},
    ]  # fmt: skip
    gpus, log = [], []
    for number, socket in enumerate(made.sockets):
        name = socket.name if made.named else None
        above = uplink_ports(pci, socket, number)
        gen = socket_gen(socket) if socket.card else None
        link = {"width": socket.trained if socket.card else None, "width_max": socket.lanes}
        port = {"address": f"0000:f9:{number:02x}.0" if socket.uplinks else socket.port, "parent": above, "slot": name}
        port |= {
            "vendor": "8086",
            "device": "43b8",
            "class": "060400",
            "link": link | {"gen": gen, "gen_max": socket.gen},
        }
        pci.append(port | {"aer": counters(socket.errors[0], 0, 0)})
        if socket.card is None:
            continue
        vendor, _, device = socket.card.gpu.pci_ids[0].partition(":")
        own = {"width": socket.trained, "width_max": socket.card.lanes, "gen": gen, "gen_max": socket.card.gen}
        function = {"vendor": vendor, "parent": port["address"], "slot": name, "link": own}
        pci.append(
            function
            | {"address": socket.address, "device": device, "class": "030000"}
            | {"aer": counters(socket.errors[1], socket.nonfatal, socket.fatal)}
        )
        audio = {"address": f"0000:{socket.bus}:00.1", "device": "1aef", "class": "040300", "aer": None}
        pci.append(function | audio)
        gpus.append(reading(socket))
        if socket.card.xid is not None:
            log.append({"kind": "xid", "address": socket.address, "code": socket.card.xid, "count": 1, "text": "Xid"})
    return {
        "schema": 1,
        "host": {
            "boot_id": BOOT,
            "virtualisation": "QEMU" if made.virtual else "none",
            "uptime_seconds": made.uptime,
        },
        "driver": {"loaded": True, "nouveau": False, "answers": True, "version": "580.95.05", "flavour": "open"},
        "pci": pci,
        "gpus": gpus,
        "kernel_log": log,
        "managed": {},
        "users_root": True,
        "unread": [],
    }


def socket_gen(socket: Socket) -> int:
    """The generation now: at rest links go down to the first."""
    return socket.full_gen if socket.working else 1


def uplink_ports(pci: list[dict[str, Any]], socket: Socket, number: int) -> str | None:
    """The ports above a socket's own, root first; each link shows at both of its ends. Returns the nearest one."""
    if not socket.uplinks:
        return None
    parent, address = None, socket.port
    for depth, (lanes, one, other) in enumerate(reversed(socket.uplinks)):
        below = f"0000:{0xA0 + depth:02x}:{number:02x}.1"
        for place, limit in ((address, one), (below, other)):
            link = {"width": lanes, "width_max": 16, "gen": 1, "gen_max": limit}
            pci.append({"address": place, "vendor": "8086", "device": "43b8", "class": "060400", "parent": parent}
                       | {"slot": None, "link": link, "aer": None})  # fmt: skip
            parent = place
        address = f"0000:{0xB0 + depth:02x}:{number:02x}.2"
    return parent


def counters(correctable: int, nonfatal: int, fatal: int) -> dict[str, dict[str, int]]:
    return {"correctable": {"total": correctable}, "nonfatal": {"total": nonfatal}, "fatal": {"total": fatal}}


def reading(socket: Socket) -> dict[str, Any]:
    card = socket.card
    assert card is not None
    return {
        "address": socket.address,
        "name": card.gpu.name,
        "pci_id": card.gpu.pci_ids[0],
        "memory_mib": card.memory,
        "ecc": card.ecc,
        "mig": None,
        "persistence": True,
        "pstate": 2 if socket.working else 8,
        "idle": not socket.working,
        # What nvidia-smi calls the greatest width is the card's own, whatever the slot.
        "link": {"width": socket.trained, "width_max": card.lanes, "gen": socket_gen(socket)},
        "replays": socket.replays,
        "clock_reasons": [] if socket.working else ["gpu_idle"],
        "bar1_mib": 256,
        "power": {"limit": 300.0, "enforced": 300.0},
    }


def load(made: Machine) -> dict[str, Any] | None:
    """The active check's document; None where none was made."""
    if not made.loaded:
        return None
    cards = []
    for socket in made.sockets:
        if socket.card is None:
            continue
        speed = GB_PER_LANE[socket.full_gen] * socket.trained * socket.card.efficiency
        lanes, gen = socket.trained, socket.full_gen
        cards.append(
            {
                "address": socket.address,
                "skipped": None,
                "h2d_gbps": speed,
                "d2h_gbps": speed * 1.02,
                "h2d_together_gbps": speed * 0.9,
                "d2h_together_gbps": speed * 0.9,
                "link": {"samples": 40, "width_min": lanes, "width_max": lanes, "gen_max": gen},
                "seconds": made.load_seconds,
                "aer": {"correctable": socket.load_errors, "nonfatal": 0, "fatal": 0},
                "replays": 0,
                "memory": {"tested_mib": 512, "wanted_mib": 512, "errors": socket.card.bad_words},
            }
        )  # fmt: skip
    return {"schema": 1, "boot_id": BOOT, "taken": 1.79e9, "seconds": 20.0, "ended": "done", "cards": cards,
            "pairs": [], "nvlinks": [], "unread": []}  # fmt: skip


# --- what the verdict must be ------------------------------------------------------------------------------------


def allowed_errors(slot: Slot, hours: float) -> int:
    """Correctable errors that a riser may show in that time."""
    per_hour = slot.correctable_errors_per_hour
    if per_hour is None:
        return ceil(ERRORS_PER_MINUTE_AND_LANE[slot.link.gen] * slot.link.width * 60 * hours)
    return ceil(per_hour * hours)


def allowed_replays(slot: Slot, minutes: float) -> int:
    return ceil(ceil(ERRORS_PER_MINUTE_AND_LANE[slot.link.gen] * slot.link.width) * minutes)


def seating(made: Machine) -> dict[str, Socket | None]:
    """Which socket stands for each declared slot."""
    if made.named or made.pinned:
        found = {name: made.socket(name) for name in made.rig.build.slots}
        return {name: socket if socket.card else None for name, socket in found.items()}
    return best_seating(made)


def best_seating(made: Machine) -> dict[str, Socket | None]:
    """Nothing tells the slots apart: of all ways to seat the cards, the one that contradicts the declaration least."""
    (best,) = best_ways(made)
    names, cards = list(made.rig.build.slots), cards_by_address(made)
    seated: dict[str, Socket | None] = dict.fromkeys(names)
    return seated | {names[row]: cards[column] for row, column in best}


def cards_by_address(made: Machine) -> list[Socket]:
    return sorted((socket for socket in made.sockets if socket.card), key=lambda socket: socket.address)


def best_ways(made: Machine) -> list[list[tuple[int, int]]]:
    """The pairs (slot, card), by their places, of every seating that contradicts the declaration least."""
    slots, sockets = list(made.rig.build.slots.values()), cards_by_address(made)
    few, many = min(len(slots), len(sockets)), max(len(slots), len(sockets))

    def cost(pairs: list[tuple[int, int]]) -> tuple[int, int, int]:
        models = widths = order = 0
        for row, column in pairs:
            slot, socket = slots[row], sockets[column]
            assert socket.card is not None
            models += socket.card.gpu.pci_ids[0] not in made.catalogue.gpus[slot.gpu].pci_ids
            for lanes in (socket.trained, socket.lanes):
                widths += abs(lanes.bit_length() - slot.link.width.bit_length())
            order += abs(row - column)
        return models, widths, order

    ways = [
        list(enumerate(way)) if len(slots) <= len(sockets) else list(zip(way, range(few), strict=True))
        for way in itertools.permutations(range(many), few)
    ]
    least = min(map(cost, ways))
    return [way for way in ways if cost(way) == least]


def expected(made: Machine) -> dict[tuple[str, str], Verdict]:
    """The verdict on every slot, by (check, subject)."""
    verdicts: dict[tuple[str, str], Verdict] = {}
    seated = seating(made)
    there = sum(socket.card is not None for socket in made.sockets)
    count = len(made.rig.build.slots)
    verdicts["gpu.count", "rig"] = (
        ("PASS", "") if there == count else ("FAIL", "card-missing" if there < count else "card-extra")
    )
    for name, slot in made.rig.build.slots.items():
        socket = seated[name]
        if socket is None:
            verdicts["gpu.model", name] = ("FAIL", "card-missing")
        else:
            verdicts |= {(check, name): verdict for check, verdict in of_card(made, slot, socket).items()}
    used = [socket for socket in seated.values() if socket]
    for socket in made.sockets:
        if socket.card and socket not in used:
            verdicts["gpu.model", socket.name if made.named else socket.address] = ("FAIL", "card-extra")
    return verdicts


def of_card(made: Machine, slot: Slot, socket: Socket) -> dict[str, Verdict]:
    card = socket.card
    assert card is not None
    right = card.gpu.pci_ids[0] in made.catalogue.gpus[slot.gpu].pci_ids
    verdicts = {
        "gpu.model": ("PASS", "") if right else ("FAIL", "other-model"),
        "link.width": width(made, slot, socket),
        "link.generation": generation(made, slot, socket),
        "link.path": whole_path(made, slot, socket),
        "link.errors": errors(slot, made.uptime / 3600, max(socket.errors), socket.nonfatal, socket.fatal),
        "link.replays": of_count(socket.replays, allowed_replays(slot, made.uptime / 60), "link-replays"),
        "gpu.xid": xids(card),
    }
    if right:
        verdicts["memory.card"] = card.memory_verdict
    if made.loaded:
        declared = GB_PER_LANE[slot.link.gen] * slot.link.width
        speed = GB_PER_LANE[socket.full_gen] * socket.trained * card.efficiency
        verdicts["load.bandwidth"] = ("FAIL", "bandwidth-low") if speed < 0.7 * declared else ("PASS", "")
        verdicts["load.errors"] = errors(slot, made.load_seconds / 3600, socket.load_errors, 0, 0)
        verdicts["load.memory"] = ("FAIL", "memory-errors") if card.bad_words else ("PASS", "")
    return verdicts


def width(made: Machine, slot: Slot, socket: Socket) -> Verdict:
    wanted, card = slot.link.width, socket.card
    assert card is not None
    if socket.trained == wanted:
        return "PASS", ""
    if socket.trained > wanted:
        return "WARN", "spec-mismatch"
    if made.virtual:
        return "FAIL", "unknown"
    if socket.lanes < wanted:
        return "FAIL", "slot-limited"
    return "FAIL", "card-limited" if card.lanes < wanted else "link-degraded"


def generation(made: Machine, slot: Slot, socket: Socket) -> Verdict:
    wanted, card = slot.link.gen, socket.card
    assert card is not None
    at_work = socket.working or made.loaded
    seen = socket.full_gen if at_work else 1
    if seen >= wanted:
        return "PASS", ""
    if not made.virtual and socket.gen < wanted:
        return "FAIL", "slot-limited"
    if not made.virtual and card.gen < wanted:
        return "FAIL", "card-limited"
    if not at_work:
        return "UNKNOWN", "idle"
    return "FAIL", "unknown" if made.virtual else "link-degraded"


def whole_path(made: Machine, slot: Slot, socket: Socket) -> Verdict:
    if made.virtual:
        return "UNKNOWN", "unknown"
    wanted = GB_PER_LANE[slot.link.gen] * slot.link.width
    if any(GB_PER_LANE[min(one, other)] * lanes < wanted for lanes, one, other in socket.uplinks):
        return "FAIL", "path-limited"
    declared = next(name for name, other in made.rig.build.slots.items() if other is slot)
    at_cpu = made.catalogue.boards["random"].slots[declared].attached == "cpu"
    return ("WARN", "chipset-attached") if socket.chipset and at_cpu else ("PASS", "")


def errors(slot: Slot, hours: float, correctable: int, nonfatal: int, fatal: int) -> Verdict:
    if fatal:
        return "FAIL", "fatal-errors"
    if nonfatal:
        return "WARN", "nonfatal-errors"
    return of_count(correctable, allowed_errors(slot, hours), "link-errors")


def of_count(count: int, allowed: int, cause: str) -> Verdict:
    return ("WARN", cause) if count > allowed else ("PASS", "")


def xids(card: Card) -> Verdict:
    if card.xid in FATAL:
        return "FAIL", "xid-fatal"
    return ("WARN", "xid-noted") if card.xid in NOTED else ("PASS", "")
