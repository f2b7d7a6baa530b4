"""Random rigs, mostly as declared, with some things wrong."""

from __future__ import annotations

import random

from physical import (
    FATAL,
    HARMLESS,
    LANES,
    NOTED,
    Card,
    Machine,
    Socket,
    allowed_errors,
    allowed_replays,
    best_ways,
)

from rigdeploy.fleet.catalogue import Catalogue
from rigdeploy.fleet.link import Link
from rigdeploy.fleet.models import Board, BoardSlot, Build, Gpu, ManualPower, Rig, Slot


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
