"""What a probe and an active check would read of a physical rig."""

from __future__ import annotations

from typing import Any

from physical import (
    BOOT,
    GB_PER_LANE,
    Machine,
    Socket,
)


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
