#!/usr/bin/env python3
"""Put this node's NVIDIA cards under load, measure what they do, and print it as one JSON document.

One file, standard library only, Python 3.9 or later: it is sent over SSH and run by whatever Python the node has. It
needs nothing but the driver's own libraries (libcuda.so.1 and libnvidia-ml.so.1), no CUDA toolkit. Bandwidths are GB/s
(10^9 bytes), sizes MiB, addresses ``dddd:bb:dd.f`` in lower case.

In order: copies from and to each card alone, then all cards at a time, then from card to card, then a test of memory,
which takes what is left of the time. Every card may fail alone; what could not be measured is null, and stands in
``unread``. A card that another process computes on is left alone unless ``--force`` is given. On SIGINT, SIGTERM,
SIGHUP, and when nobody reads the output any more, the copy under way is finished, everything is given back, and what is
known is printed. It changes nothing on the node and leaves nothing there.
"""

from __future__ import annotations

import abc
import argparse
import array
import contextlib
import ctypes
import json
import operator
import os
import re
import select
import signal
import struct
import sys
import threading
import time
from typing import Any, Callable, Iterator

SCHEMA = 1
MIB = 1 << 20
PCI_DEVICES = "/sys/bus/pci/devices"

BUFFER = 64 * MIB
# The first copies find the link asleep and the card's clocks low.
WARM_UP_SECONDS = 0.3
ALONE_SECONDS = 0.4
TOGETHER_SECONDS = 1.0
PAIR_SECONDS = 0.1
SAMPLE_SECONDS = 0.01

BLOCK = 32 * MIB
STAMP_WORDS = 4
ENOUGH_ERRORS = 1 << 20
# Left free beside the test's pieces, for the driver itself.
MEMORY_RESERVE = 64 * MIB
INVERTED = bytes(range(255, -1, -1))
ALL_BITS = 0xFFFFFFFF

# A driver's call that has not come back for so long after the end never will.
GRACE_SECONDS = 20
WATCH_SECONDS = 0.2

GEN_OF_SPEED = {2.5: 1, 5: 2, 8: 3, 16: 4, 32: 5, 64: 6}  # GT/s
# 0: no link. 63 and 255: the register read as all ones, so the device no longer answers.
NO_WIDTH = (0, 63, 255)
SEVERITIES = ("correctable", "nonfatal", "fatal")


class DriverError(Exception):
    """A library of the driver that cannot be loaded, or a function of it that failed with ``code``."""

    def __init__(self, text: str, code: int | None = None) -> None:
        super().__init__(text)
        self.code = code


# --- the driver's libraries ------------------------------------------------------------------------------------------

HANDLE = ctypes.c_void_p
OUT_HANDLE = ctypes.POINTER(ctypes.c_void_p)
DEVICE_POINTER = ctypes.c_uint64
INT, UINT, SIZE = ctypes.c_int, ctypes.c_uint, ctypes.c_size_t
OUT_INT, OUT_UINT, OUT_SIZE = ctypes.POINTER(INT), ctypes.POINTER(UINT), ctypes.POINTER(SIZE)

# cuda.h. Where a function has a version in its name, it is the one that the header's macros have chosen from CUDA 4 or
# earlier (the primary context's release: 11) to 13; the library keeps exporting it.
CUDA: dict[str, tuple[Any, ...]] = {
    "cuInit": (UINT,),
    "cuGetErrorName": (INT, ctypes.POINTER(ctypes.c_char_p)),
    "cuDeviceGetCount": (OUT_INT,),
    "cuDeviceGet": (OUT_INT, INT),
    "cuDeviceGetPCIBusId": (ctypes.c_char_p, INT, INT),
    "cuDevicePrimaryCtxRetain": (OUT_HANDLE, INT),
    "cuDevicePrimaryCtxRelease_v2": (INT,),
    "cuCtxSetCurrent": (HANDLE,),
    "cuStreamCreate": (OUT_HANDLE, UINT),
    "cuStreamSynchronize": (HANDLE,),
    "cuStreamDestroy_v2": (HANDLE,),
    "cuEventCreate": (OUT_HANDLE, UINT),
    "cuEventRecord": (HANDLE, HANDLE),
    "cuEventSynchronize": (HANDLE,),
    "cuEventElapsedTime": (ctypes.POINTER(ctypes.c_float), HANDLE, HANDLE),
    "cuEventDestroy_v2": (HANDLE,),
    "cuMemGetInfo_v2": (OUT_SIZE, OUT_SIZE),
    "cuMemHostAlloc": (OUT_HANDLE, SIZE, UINT),
    "cuMemFreeHost": (HANDLE,),
    "cuMemAlloc_v2": (ctypes.POINTER(DEVICE_POINTER), SIZE),
    "cuMemFree_v2": (DEVICE_POINTER,),
    "cuMemcpyHtoDAsync_v2": (DEVICE_POINTER, HANDLE, SIZE, HANDLE),
    "cuMemcpyDtoHAsync_v2": (HANDLE, DEVICE_POINTER, SIZE, HANDLE),
    "cuMemcpyDtoDAsync_v2": (DEVICE_POINTER, DEVICE_POINTER, SIZE, HANDLE),
    "cuMemsetD32Async": (DEVICE_POINTER, UINT, SIZE, HANDLE),
    "cuDeviceCanAccessPeer": (OUT_INT, INT, INT),
    "cuCtxEnablePeerAccess": (HANDLE, UINT),
    "cuCtxDisablePeerAccess": (HANDLE,),
    "cuMemcpyPeerAsync": (DEVICE_POINTER, HANDLE, DEVICE_POINTER, HANDLE, SIZE, HANDLE),
}
CUDA_ERROR_OUT_OF_MEMORY = 2
CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED = 704
CU_EVENT_BLOCKING_SYNC = 1


class PciInfo(ctypes.Structure):
    """nvml.h, nvmlPciInfo_t."""

    _fields_ = (
        ("bus_id_legacy", ctypes.c_char * 16),
        ("domain", UINT),
        ("bus", UINT),
        ("device", UINT),
        ("pci_device_id", UINT),
        ("pci_subsystem_id", UINT),
        ("bus_id", ctypes.c_char * 32),
    )


# Newest first: which of them a driver has depends on its age (450, 510 and later).
RUNNING_PROCESSES = (
    "nvmlDeviceGetComputeRunningProcesses_v3",
    "nvmlDeviceGetComputeRunningProcesses_v2",
    "nvmlDeviceGetComputeRunningProcesses",
)
# nvml.h.
NVML: dict[str, tuple[Any, ...]] = {
    "nvmlInit_v2": (),
    "nvmlErrorString": (INT,),
    "nvmlDeviceGetHandleByPciBusId_v2": (ctypes.c_char_p, OUT_HANDLE),
    **dict.fromkeys(RUNNING_PROCESSES, (HANDLE, OUT_UINT, HANDLE)),
    "nvmlDeviceGetMigMode": (HANDLE, OUT_UINT, OUT_UINT),
    "nvmlDeviceGetPcieReplayCounter": (HANDLE, OUT_UINT),
    "nvmlDeviceGetNvLinkState": (HANDLE, UINT, OUT_UINT),
    "nvmlDeviceGetNvLinkRemotePciInfo_v2": (HANDLE, UINT, ctypes.POINTER(PciInfo)),
}
NVML_ERROR_NOT_SUPPORTED = 3
NVML_ERROR_INSUFFICIENT_SIZE = 7
NVLINKS_AT_MOST = 18  # nvml.h, NVML_NVLINK_MAX_LINKS


class Library(abc.ABC):
    """Functions of a shared library that return an error code."""

    def __init__(self, path: str, signatures: dict[str, tuple[Any, ...]]) -> None:
        """Load it; DriverError when that fails. A function that it lacks is an error only when it is called."""
        try:
            library = ctypes.CDLL(path)
        except OSError as error:
            raise DriverError(str(error) if path in str(error) else f"{path}: {error}") from error
        self.functions: dict[str, Any] = {}
        for name, arguments in signatures.items():
            function = getattr(library, name, None)
            if function is not None:
                function.argtypes, function.restype = arguments, INT
                self.functions[name] = function

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function; DriverError with its name and the name of the error when it fails."""
        function = self.functions.get(name)
        if function is None:
            raise DriverError(f"{name}: the driver's library has no such function")
        code = function(*arguments)
        if code:
            raise DriverError(f"{name}: {self.error_name(code)} ({code})", code)

    @abc.abstractmethod
    def error_name(self, code: int) -> str:
        """What the library calls an error."""


class Cuda(Library):
    """libcuda.so.1, ready to use."""

    def __init__(self, path: str) -> None:
        super().__init__(path, CUDA)
        self.call("cuInit", 0)

    def error_name(self, code: int) -> str:
        """The error's constant."""
        name = ctypes.c_char_p()
        self.functions["cuGetErrorName"](code, ctypes.byref(name))
        return (name.value or b"unknown error").decode("ascii", "replace")

    def count(self) -> int:
        """How many devices there are."""
        count = INT()
        self.call("cuDeviceGetCount", ctypes.byref(count))
        return count.value

    def device(self, ordinal: int) -> tuple[int, str]:
        """One device with its address."""
        device, text = INT(), ctypes.create_string_buffer(32)
        self.call("cuDeviceGet", ctypes.byref(device), ordinal)
        self.call("cuDeviceGetPCIBusId", text, len(text), device)
        return device.value, as_address(text.value.decode("ascii", "replace"))


class Nvml(Library):
    """libnvidia-ml.so.1, ready to use."""

    def __init__(self, path: str) -> None:
        super().__init__(path, NVML)
        if "nvmlErrorString" in self.functions:
            self.functions["nvmlErrorString"].restype = ctypes.c_char_p
        self.call("nvmlInit_v2")

    def error_name(self, code: int) -> str:
        """The error in the library's words."""
        text = self.functions["nvmlErrorString"](code) if "nvmlErrorString" in self.functions else b""
        return (text or b"unknown error").decode("ascii", "replace")

    def handle(self, address: str) -> Any:
        """The library's handle of the card at an address."""
        handle = HANDLE()
        self.call("nvmlDeviceGetHandleByPciBusId_v2", address.encode("ascii"), ctypes.byref(handle))
        return handle

    def number(self, name: str, handle: Any) -> int:
        """What a function says about a card in one number."""
        value = UINT()
        self.call(name, handle, ctypes.byref(value))
        return value.value

    def mig(self, handle: Any) -> bool:
        """Whether the card is cut into instances; most cards cannot be."""
        mode, pending = UINT(), UINT()
        try:
            self.call("nvmlDeviceGetMigMode", handle, ctypes.byref(mode), ctypes.byref(pending))
        except DriverError:
            return False
        return mode.value != 0

    def processes(self, handle: Any) -> int:
        """How many processes compute on a card: asked without room for them, the library says how many there are."""
        name = next((name for name in RUNNING_PROCESSES if name in self.functions), RUNNING_PROCESSES[0])
        count = UINT(0)
        try:
            self.call(name, handle, ctypes.byref(count), None)
        except DriverError as error:
            if error.code != NVML_ERROR_INSUFFICIENT_SIZE:
                raise
        return count.value


def as_address(text: str) -> str:
    """A PCI address of a library, ``00000000:0A:00.0`` or ``0000:0a:00.0``, as the kernel writes it."""
    match = re.fullmatch(r"([0-9a-f]{4,8}):([0-9a-f]{2}:[0-9a-f]{2}\.[0-7])", text.lower())
    if match is None:
        raise DriverError(f"the driver gives a card the address {text[:40]!r}")
    return f"{int(match[1], 16):04x}:{match[2]}"


# --- the node --------------------------------------------------------------------------------------------------------


class Node:
    """The node's files below a root directory, the time that the check has, and the document that it fills."""

    def __init__(self, root: str, seconds: float) -> None:
        self.root = root.rstrip("/")
        self.started = time.monotonic()
        self.deadline = self.started + seconds
        self.cancelled = False
        self.cards: list[Card] = []
        self.document: dict[str, Any] = {
            "schema": SCHEMA,
            "boot_id": self.text("/proc/sys/kernel/random/boot_id"),
            "taken": round(time.time(), 3),
            "seconds": None,
            "ended": "done",
            "cards": [],
            "pairs": [],
            "nvlinks": [],
            "unread": [],
        }

    def note(self, what: str, why: str) -> None:
        """Record that something could not be measured."""
        self.document["unread"].append({"what": what, "why": why[:300]})

    def over(self) -> bool:
        """Whether to stop with work left, which the document then says."""
        if self.cancelled:
            self.document["ended"] = "cancelled"
        elif time.monotonic() >= self.deadline:
            self.document["ended"] = "timeout"
        return bool(self.document["ended"] != "done")

    def cancel(self, *_: object) -> None:
        """Have the check end soon."""
        if not self.cancelled:
            self.cancelled = True
            self.deadline = min(self.deadline, time.monotonic())

    def path(self, name: str) -> str:
        """Where a file of the node lies."""
        return self.root + name

    def text(self, name: str) -> str | None:
        """A small file's content without surrounding space; None without it."""
        try:
            with open(self.path(name), "rb") as file:
                return file.read(MIB).decode("utf-8", "replace").strip()
        except OSError:
            return None

    def link(self, address: str) -> tuple[int, int] | None:
        """The lanes and the generation of a card's link at this moment."""
        width = self.text(f"{PCI_DEVICES}/{address}/current_link_width") or ""
        speed = re.match(r"\d{1,3}(\.\d)?", self.text(f"{PCI_DEVICES}/{address}/current_link_speed") or "")
        gen = GEN_OF_SPEED.get(float(speed[0])) if speed else None
        if gen is None or not width.isdigit() or int(width) in NO_WIDTH:
            return None
        return int(width), gen

    def ends(self, address: str) -> list[str]:
        """The directories of both ends of a card's link: its own, and that of the port above it."""
        own = os.path.realpath(self.path(f"{PCI_DEVICES}/{address}"))
        above = os.path.dirname(own)
        return [own, above] if re.search(r":[0-9a-f]{2}\.[0-7]$", above) else [own]

    def processors(self, address: str) -> set[int]:
        """The processors that are next to a card."""
        text = self.text(f"{PCI_DEVICES}/{address}/local_cpulist") or ""
        ranges = re.findall(r"(\d{1,5})(?:-(\d{1,5}))?", text)
        return {number for first, last in ranges for number in range(int(first), int(last or first) + 1)}


def aer_totals(directory: str) -> dict[str, int]:
    """The errors that one end of a link has counted since boot, by severity; only what the kernel shows."""
    totals = {}
    for severity in SEVERITIES:
        with contextlib.suppress(OSError), open(f"{directory}/aer_dev_{severity}", encoding="ascii") as file:
            match = re.search(r"^TOTAL_ERR\w* (\d{1,19})$", file.read(MIB), re.MULTILINE)
            if match:
                totals[severity] = int(match[1])
    return totals


# --- one card --------------------------------------------------------------------------------------------------------


class Card:
    """One card: its part of the document, and what the check holds of it."""

    def __init__(self, node: Node, cuda: Cuda, device: int, address: str) -> None:
        self.node, self.cuda, self.device, self.address = node, cuda, device, address
        self.nvml: Nvml | None = None
        self.handle: Any = None  # NVML's, where there is NVML
        self.failed = False
        self.pending = ""  # the driver's function that is being called
        self.context, self.stream, self.start, self.stop, self.host = (HANDLE() for _ in range(5))
        self.buffer = DEVICE_POINTER()
        self.held: list[tuple[Any, ...]] = []  # calls that give back what is held, in the order of its taking
        self.before: Counters | None = None
        self.record: dict[str, Any] = {
            "address": address,
            "skipped": None,
            "h2d_gbps": None,
            "d2h_gbps": None,
            "h2d_together_gbps": None,
            "d2h_together_gbps": None,
            "link": {"samples": 0, "width_min": None, "width_max": None, "gen_max": None},
            "seconds": None,
            "aer": None,
            "replays": None,
            "memory": None,
        }

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function of the driver for this card."""
        self.pending = name
        self.cuda.call(name, *arguments)
        self.pending = ""

    def take(self, name: str, *arguments: Any, back: str) -> None:
        """Call a function that gives something; ``back`` takes it back. Its first argument is where it is put."""
        self.call(name, ctypes.byref(arguments[0]), *arguments[1:])
        self.held.append((back, arguments[0]))

    def fail(self, why: str) -> None:
        """The card takes no further part."""
        self.failed, self.pending = True, ""
        self.node.note(f"cards[{self.address}]", why)

    def use(self) -> None:
        """Make the card the one that this thread's calls are about."""
        self.call("cuCtxSetCurrent", self.context)

    def open(self) -> None:
        """Take what every measurement needs."""
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(self.context), self.device)
        self.held.append(("cuDevicePrimaryCtxRelease_v2", self.device))
        self.use()
        self.take("cuStreamCreate", self.stream, 0, back="cuStreamDestroy_v2")
        self.take("cuEventCreate", self.start, CU_EVENT_BLOCKING_SYNC, back="cuEventDestroy_v2")
        self.take("cuEventCreate", self.stop, CU_EVENT_BLOCKING_SYNC, back="cuEventDestroy_v2")
        self.take("cuMemHostAlloc", self.host, BUFFER, 0, back="cuMemFreeHost")
        self.take("cuMemAlloc_v2", self.buffer, BUFFER, back="cuMemFree_v2")

    def give_back(self, keep: int = 0) -> None:
        """Give back all but the first ``keep`` things taken; what cannot be given back ends with this process."""
        while len(self.held) > keep:
            with contextlib.suppress(DriverError):
                self.call(*self.held.pop())

    def close(self) -> None:
        """Give everything back."""
        if self.held:
            with contextlib.suppress(DriverError):
                self.use()
            self.give_back()
        self.pending = ""

    def to_card(self) -> None:
        """Start a copy of the buffer from the host."""
        self.call("cuMemcpyHtoDAsync_v2", self.buffer, self.host, BUFFER, self.stream)

    def from_card(self) -> None:
        """Start a copy of the buffer to the host."""
        self.call("cuMemcpyDtoHAsync_v2", self.host, self.buffer, BUFFER, self.stream)

    def synchronise(self) -> None:
        """Wait for all that was started."""
        self.call("cuStreamSynchronize", self.stream)

    def bandwidth(self, copy: Callable[[], None], seconds: float) -> float:
        """Repeat a copy of one buffer for so long, and return GB/s by the card's own clock."""
        copied, milliseconds, lap = 0, 0.0, ctypes.c_float()
        until = time.monotonic() + seconds
        while True:
            self.call("cuEventRecord", self.start, self.stream)
            copy()
            self.call("cuEventRecord", self.stop, self.stream)
            self.call("cuEventSynchronize", self.stop)
            self.call("cuEventElapsedTime", ctypes.byref(lap), self.start, self.stop)
            copied, milliseconds = copied + BUFFER, milliseconds + lap.value
            if time.monotonic() >= until or self.node.over():
                break
        if milliseconds <= 0:
            raise DriverError("cuEventElapsedTime: a copy took no time")
        return round(copied / milliseconds / 1e6, 3)


class Counters:
    """The error counters of one card's link at one moment."""

    def __init__(self, card: Card) -> None:
        self.taken = time.monotonic()
        self.aer = [aer_totals(end) for end in card.node.ends(card.address)]
        self.replays: int | None = None
        if card.nvml is not None:
            with contextlib.suppress(DriverError):
                self.replays = card.nvml.number("nvmlDeviceGetPcieReplayCounter", card.handle)


def gained(before: Counters, after: Counters) -> dict[str, Any]:
    """What the counters gained in between, and in how long.

    Either end of a link may count an error (or both): the larger number of the two is taken, by severity.
    """
    aer: dict[str, int] = {}
    for old, new in zip(before.aer, after.aer):  # noqa: B905 - Python 3.9 has no strict=
        for severity in old.keys() & new.keys():
            aer[severity] = max(aer.get(severity, 0), new[severity] - old[severity])
    known = before.replays is not None and after.replays is not None
    return {
        "seconds": round(after.taken - before.taken, 3),
        "aer": aer or None,
        "replays": max(0, after.replays - before.replays) if known else None,  # type: ignore[operator]
    }


def in_parallel(cards: list[Card], work: Callable[[Card], None]) -> None:
    """Do something with each of the cards at a time; one that fails is noted, and takes no other with it."""
    threads = [threading.Thread(target=attempt, args=(card, work), daemon=True) for card in cards]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def attempt(card: Card, work: Callable[[Card], None]) -> None:
    """Do something with one card, near it: memory on the far side of two processors is slower to copy from."""
    near = card.node.processors(card.address)
    if near:
        with contextlib.suppress(OSError, ValueError):
            os.sched_setaffinity(0, near)
    try:
        if card.context:
            card.use()
        work(card)
    except DriverError as error:
        card.fail(str(error))
    except Exception as error:  # noqa: BLE001 - whatever one card does, the others must be measured
        card.fail(f"{type(error).__name__}: {error}")


# --- which cards -----------------------------------------------------------------------------------------------------


def load_libraries(node: Node, libcuda: str, libnvml: str) -> tuple[Cuda | None, Nvml | None]:
    """Both libraries; None, noted, for one that does not work."""
    cuda: Cuda | None = None
    nvml: Nvml | None = None
    try:
        cuda = Cuda(libcuda)
    except DriverError as error:
        node.note("library", str(error))
        return None, None
    try:
        nvml = Nvml(libnvml)
    except DriverError as error:
        node.note("nvml", str(error))
    return cuda, nvml


def find_cards(node: Node, cuda: Cuda, nvml: Nvml | None, options: argparse.Namespace) -> None:
    """All cards that CUDA shows, and which of them are left alone."""
    for ordinal in range(cuda.count()):
        try:
            card = Card(node, cuda, *cuda.device(ordinal))
        except DriverError as error:
            node.note(f"cards[{ordinal}]", str(error))
            continue
        node.cards.append(card)
        node.document["cards"].append(card.record)
        if nvml is not None:
            try:
                card.handle, card.nvml = nvml.handle(card.address), nvml
            except DriverError as error:
                node.note(f"nvml[{card.address}]", str(error))
        card.record["skipped"] = reason_to_skip(card, options)
    for address in sorted(set(options.card or ()) - {card.address for card in node.cards}):
        node.note(f"cards[{address}]", "CUDA shows no such card")


def reason_to_skip(card: Card, options: argparse.Namespace) -> str | None:
    """Why a card is left alone; None when it is not."""
    if options.card and card.address not in options.card:
        return "not asked for"
    if card.nvml is not None and card.nvml.mig(card.handle):
        return "MIG is on"
    if options.force:
        return None
    try:
        processes = card.nvml.processes(card.handle) if card.nvml is not None else None
    except DriverError as error:
        card.node.note(f"nvml[{card.address}]", str(error))
        processes = None
    if processes is None:
        return "whether it is in use cannot be read"
    return f"in use by {processes} process{'es' if processes > 1 else ''}" if processes else None


# --- copies ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def sampled(card: Card) -> Iterator[None]:
    """Look at the card's link all the while, and record what was seen."""
    done, samples = threading.Event(), []

    def look() -> None:
        while not done.wait(SAMPLE_SECONDS):
            link = card.node.link(card.address)
            if link is not None:
                samples.append(link)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        widths = [width for width, _ in samples]
        card.record["link"] = {
            "samples": len(samples),
            "width_min": min(widths, default=None),
            "width_max": max(widths, default=None),
            "gen_max": max((gen for _, gen in samples), default=None),
        }


def measure_alone(card: Card) -> None:
    """Copies to and from one card while no other copies."""
    card.before = Counters(card)
    card.open()
    card.bandwidth(card.to_card, WARM_UP_SECONDS)
    with sampled(card):
        card.record["h2d_gbps"] = card.bandwidth(card.to_card, ALONE_SECONDS)
        if not card.node.over():
            card.record["d2h_gbps"] = card.bandwidth(card.from_card, ALONE_SECONDS)


def measure_to_cards(card: Card) -> None:
    """Copies to a card while all others do the same."""
    card.record["h2d_together_gbps"] = card.bandwidth(card.to_card, TOGETHER_SECONDS)


def measure_from_cards(card: Card) -> None:
    """Copies from a card while all others do the same."""
    card.record["d2h_together_gbps"] = card.bandwidth(card.from_card, TOGETHER_SECONDS)


# --- from card to card -----------------------------------------------------------------------------------------------


def measure_pairs(node: Node, cards: list[Card]) -> None:
    """Copies from each card to each other one."""
    for source in cards:
        for target in cards:
            if source is target or source.failed or target.failed:
                continue
            if node.over():
                return
            record: dict[str, Any] = {"source": source.address, "target": target.address}
            record.update(can_access=None, gbps=None, intact=None)
            node.document["pairs"].append(record)
            try:
                measure_pair(source, target, record)
            except DriverError as error:
                source.pending = target.pending = ""
                node.note(f"pairs[{source.address},{target.address}]", str(error))


def measure_pair(source: Card, target: Card, record: dict[str, Any]) -> None:
    """Copies from one card to another, whose result is looked at: with some IOMMU settings it arrives wrong."""
    can = INT()
    source.use()
    source.call("cuDeviceCanAccessPeer", ctypes.byref(can), source.device, target.device)
    record["can_access"] = bool(can.value)
    word = 0x5EED0000 + (source.device << 8) + target.device
    fill(target, ~word & ALL_BITS)
    fill(source, word)  # last: from here on, this thread's calls are about the source
    with peer_access(source, target, bool(can.value)):
        gbps = source.bandwidth(lambda: copy_to_peer(source, target), PAIR_SECONDS)
    target.use()
    target.from_card()
    target.synchronise()
    record["intact"] = is_filled(target.host.value or 0, word)
    if record["intact"]:
        record["gbps"] = gbps
    else:
        source.node.note(f"pairs[{source.address},{target.address}]", "what was copied arrived wrong")


def fill(card: Card, word: int) -> None:
    """Fill a card's buffer with one word."""
    card.use()
    card.call("cuMemsetD32Async", card.buffer, word, BUFFER // 4, card.stream)
    card.synchronise()


def is_filled(host: int, word: int) -> bool:
    """Whether a buffer holds nothing but that word: its first, and each the same as the one before."""
    return ctypes.string_at(host, 4) == struct.pack("=I", word) and same(host, host + 4, BUFFER - 4)


@contextlib.contextmanager
def peer_access(source: Card, target: Card, can: bool) -> Iterator[None]:
    """Let one card reach another's memory, where it can; without that, the driver copies through the host."""
    if not can:
        yield
        return
    try:
        source.call("cuCtxEnablePeerAccess", target.context, 0)
    except DriverError as error:
        if error.code != CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED:
            raise
    try:
        yield
    finally:
        with contextlib.suppress(DriverError):
            source.call("cuCtxDisablePeerAccess", target.context)


def copy_to_peer(source: Card, target: Card) -> None:
    """Start a copy of the buffer from one card to another."""
    source.call(
        "cuMemcpyPeerAsync", target.buffer, target.context, source.buffer, source.context, BUFFER, source.stream
    )


# --- memory ----------------------------------------------------------------------------------------------------------


def same(first: int, second: int, size: int) -> bool:
    """Whether two pieces of the host's memory are equal."""
    return not MEMCMP(first, second, size)


MEMCMP = ctypes.CDLL(None).memcmp
MEMCMP.argtypes, MEMCMP.restype = (HANDLE, HANDLE, SIZE), INT


class Pattern:
    """A random block of memory, and what flips the stamps of the pieces that hold it."""

    def __init__(self, block: bytes, flip: int) -> None:
        self.block, self.flip = ctypes.create_string_buffer(block, len(block)), flip
        self.address = ctypes.addressof(self.block)

    def stamp(self, index: int) -> int:
        """The word that a piece begins with: no two are the same, so memory that two of them share shows."""
        return index ^ self.flip


def patterns() -> list[Pattern]:
    """A random block and its opposite: between them, every bit is written with 0 and with 1."""
    block = os.urandom(BLOCK)
    return [Pattern(block, 0), Pattern(block.translate(INVERTED), ALL_BITS)]


def test_memory(card: Card, share: float, both: list[Pattern]) -> None:
    """Write a share of the card's memory and read it back, twice.

    ``tested_mib`` is what was read back both times, ``errors`` how many 32-bit words were not what had been written;
    with enough of them there is no need to go on.
    """
    free, total = SIZE(), SIZE()
    card.call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
    wanted = int(total.value * share) // MIB
    result: dict[str, Any] = {"tested_mib": 0, "wanted_mib": wanted, "errors": None if wanted else 0}
    card.record["memory"] = result
    held = len(card.held)
    try:
        pieces = allocate(card, min(wanted, max(0, free.value - MEMORY_RESERVE) // MIB))
        for pattern in both:
            if card.node.over():
                break
            write_pieces(card, pieces, pattern)
            for size, errors in read_pieces(card, pieces, pattern):
                result["tested_mib"] += size // MIB if pattern is both[-1] else 0
                result["errors"] = (result["errors"] or 0) + errors
                if result["errors"] >= ENOUGH_ERRORS:
                    return
    finally:
        card.give_back(keep=held)


def allocate(card: Card, mib: int) -> list[tuple[DEVICE_POINTER, int]]:
    """So much memory of the card in pieces of a block or less, as (address, bytes); fewer when there is no more."""
    pieces: list[tuple[DEVICE_POINTER, int]] = []
    while mib > 0 and not card.node.over():
        pointer, size = DEVICE_POINTER(), min(mib * MIB, BLOCK)
        try:
            card.take("cuMemAlloc_v2", pointer, size, back="cuMemFree_v2")
        except DriverError as error:
            if error.code != CUDA_ERROR_OUT_OF_MEMORY:
                raise
            break
        pieces.append((pointer, size))
        mib -= size // MIB
    return pieces


def write_pieces(card: Card, pieces: list[tuple[DEVICE_POINTER, int]], pattern: Pattern) -> None:
    """Copy a pattern to the card once, and from there to every piece, each with its own stamp."""
    ctypes.memmove(card.host, pattern.address, BLOCK)
    card.call("cuMemcpyHtoDAsync_v2", card.buffer, card.host, BLOCK, card.stream)
    for index, (pointer, size) in enumerate(pieces):
        card.call("cuMemcpyDtoDAsync_v2", pointer, card.buffer, size, card.stream)
        card.call("cuMemsetD32Async", pointer, pattern.stamp(index), STAMP_WORDS, card.stream)
    card.synchronise()


def read_pieces(card: Card, pieces: list[tuple[DEVICE_POINTER, int]], pattern: Pattern) -> Iterator[tuple[int, int]]:
    """Read the pieces back, as (bytes, wrong words): one is copied while the one before it is compared."""
    halves = [card.host.value or 0, (card.host.value or 0) + BLOCK]

    def start(index: int) -> None:
        pointer, size = pieces[index]
        card.call("cuMemcpyDtoHAsync_v2", halves[index % 2], pointer, size, card.stream)

    try:
        for index, (_, size) in enumerate(pieces):
            if card.node.over():
                break
            if index == 0:
                start(0)
            card.synchronise()
            if index + 1 < len(pieces):
                start(index + 1)
            yield size, wrong_words(halves[index % 2], pattern, index, size)
    finally:
        card.synchronise()


def wrong_words(host: int, pattern: Pattern, index: int, size: int) -> int:
    """How many 32-bit words of one piece are not what was written."""
    head = STAMP_WORDS * 4
    errors = sum(word != pattern.stamp(index) for word in words_at(host, head))
    if same(host + head, pattern.address + head, size - head):
        return errors
    for offset in range(head, size, 64 * 1024):
        length = min(64 * 1024, size - offset)
        if not same(host + offset, pattern.address + offset, length):
            pairs = words_at(host + offset, length), words_at(pattern.address + offset, length)
            errors += sum(map(operator.ne, *pairs))
    return errors


def words_at(host: int, size: int) -> array.array[int]:
    """The 32-bit words in a piece of the host's memory."""
    return array.array("I", ctypes.string_at(host, size))


# --- NVLink ----------------------------------------------------------------------------------------------------------


def read_nvlinks(node: Node) -> None:
    """The NVLinks of every card that has some."""
    for card in node.cards:
        states = list(nvlink_states(card.nvml, card.handle)) if card.nvml is not None else []
        if card.nvml is None or not states:
            continue
        peers = {nvlink_peer(card.nvml, card.handle, link) for link, up in states if up}
        record = {"address": card.address, "total": len(states), "active": sum(up for _, up in states)}
        node.document["nvlinks"].append({**record, "peers": sorted(filter(None, peers))})


def nvlink_states(nvml: Nvml, handle: Any) -> Iterator[tuple[int, bool]]:
    """Every NVLink of a card, and whether it is up; none where the card has no such thing."""
    for link in range(NVLINKS_AT_MOST):
        state = UINT()
        with contextlib.suppress(DriverError):
            nvml.call("nvmlDeviceGetNvLinkState", handle, link, ctypes.byref(state))
            yield link, bool(state.value)


def nvlink_peer(nvml: Nvml, handle: Any, link: int) -> str | None:
    """The address at the other end of an NVLink: another card, or a switch."""
    info = PciInfo()
    try:
        nvml.call("nvmlDeviceGetNvLinkRemotePciInfo_v2", handle, link, ctypes.byref(info))
        return as_address(info.bus_id.decode("ascii", "replace"))
    except DriverError:
        return None


# --- the document ----------------------------------------------------------------------------------------------------


def check(node: Node, options: argparse.Namespace) -> None:
    """Fill the document."""
    cuda, nvml = load_libraries(node, options.libcuda, options.nvml)
    if cuda is None:
        return
    try:
        find_cards(node, cuda, nvml, options)
    except DriverError as error:
        node.note("cards", str(error))
    read_nvlinks(node)
    cards = [card for card in node.cards if card.record["skipped"] is None]
    try:
        load(node, cards, options.memory_share)
    finally:
        for card in cards:
            finish(card)


def load(node: Node, cards: list[Card], memory_share: float) -> None:
    """Every measurement in its order, for as long as there is time."""

    def sound() -> list[Card]:
        return [card for card in cards if not card.failed]

    for card in cards:
        if node.over():
            return
        in_parallel([card], measure_alone)
    for measurement in (measure_to_cards, measure_from_cards):
        if len(sound()) > 1 and not node.over():
            in_parallel(sound(), measurement)
    measure_pairs(node, sound())
    if sound() and not node.over():
        both = patterns() if memory_share else []
        in_parallel(sound(), lambda card: test_memory(card, memory_share, both))


def finish(card: Card) -> None:
    """Give back what the check holds of a card, and record what its counters gained under load."""
    card.close()
    if card.before is None:
        card.node.note(f"cards[{card.address}]", "the check ended before this card's turn")
        return
    card.record.update(gained(card.before, Counters(card)))
    if card.record["aer"] is None:
        card.node.note(f"cards[{card.address}].aer", "the kernel shows no error counters")


def run(node: Node, options: argparse.Namespace) -> None:
    """Fill the document, whatever happens."""
    try:
        check(node, options)
    except Exception as error:  # noqa: BLE001 - what was measured before must be told
        node.note("check", f"{type(error).__name__}: {error}")


def note_hanging(node: Node) -> None:
    """Say which of the driver's functions do not come back."""
    node.over()
    hanging = [card for card in node.cards if card.pending]
    for card in hanging:
        node.note(f"cards[{card.address}]", f"{card.pending} does not come back")
    if not hanging:
        node.note("check", "the driver does not come back")


def print_document(node: Node) -> None:
    """Print the document, if anyone still reads."""
    node.document["seconds"] = round(time.monotonic() - node.started, 3)
    data = json.dumps(node.document, separators=(",", ":")).encode() + b"\n"
    with contextlib.suppress(OSError):
        while data:
            data = data[os.write(1, data) :]


def arguments_of(arguments: list[str] | None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description="Put NVIDIA cards under load and print, as JSON, what they did.")
    parser.add_argument("--memory-share", type=float, default=0.1, metavar="F", help="test this part of each memory")
    parser.add_argument("--seconds", type=float, default=120, metavar="N", help="end after so long, with what is known")
    parser.add_argument("--force", action="store_true", help="also cards that another process computes on")
    parser.add_argument("--card", action="append", type=str.lower, metavar="ADDRESS", help="only this one; repeatable")
    parser.add_argument("--root", default="", metavar="DIR", help="read /sys and /proc below DIR")
    parser.add_argument("--libcuda", default="libcuda.so.1", metavar="PATH", help="use this in place of libcuda.so.1")
    parser.add_argument("--nvml", default="libnvidia-ml.so.1", metavar="PATH", help="and this of libnvidia-ml.so.1")
    options = parser.parse_args(arguments)
    if not 0 <= options.memory_share <= 1 or not options.seconds > 0:
        parser.error("--memory-share is between 0 and 1, --seconds above 0")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Measure in the background, so that a driver that hangs can neither hold up an end nor be waited for."""
    options = arguments_of(arguments)
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    node = Node(options.root, options.seconds)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, node.cancel)
    reader = select.poll()
    reader.register(1, 0)  # that nobody reads any more is told unasked
    worker = threading.Thread(target=run, args=(node, options), daemon=True)
    worker.start()
    while worker.is_alive():
        worker.join(WATCH_SECONDS)
        if reader.poll(0):
            node.cancel()
        if worker.is_alive() and time.monotonic() > node.deadline + GRACE_SECONDS:
            note_hanging(node)
            print_document(node)
            os._exit(0)
    print_document(node)
    return 0


if __name__ == "__main__":
    sys.exit(main())
