"""Which model of the catalogue a card is; a card that the catalogue lacks is described as it was read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from rigdeploy.capture.links import declarable
from rigdeploy.capture.model import Entry, Note, warning
from rigdeploy.capture.names import plain, slug, unused
from rigdeploy.errors import NodeError
from rigdeploy.fleet.link import WIDTHS, Link
from rigdeploy.fleet.models import Gpu, MemoryTotals, PowerRange
from rigdeploy.verify.memory import is_right

if TYPE_CHECKING:
    from rigdeploy.fleet.catalogue import Catalogue
    from rigdeploy.node.observation import GpuReading
    from rigdeploy.verify.cards import Card

_Architecture = Literal["pascal", "volta", "turing", "ampere", "ada", "hopper", "blackwell"]

_ARCHITECTURES: tuple[tuple[int, _Architecture], ...] = (
    (0x0000, "pascal"),
    (0x1D80, "volta"),
    (0x1E00, "turing"),
    (0x2080, "ampere"),
    (0x2180, "turing"),
    (0x2200, "ampere"),
    (0x2300, "hopper"),
    (0x2400, "ampere"),
    (0x2680, "ada"),
    (0x2900, "blackwell"),
)
"""The architecture from each PCI device id on (pci.ids of 2023; from 0x2900 on, the ids of GB100 and GB20x). What is
older than Pascal runs with the same kernel modules as Pascal does."""

_WITH_ECC = 16 / 15
"""Inline ECC takes one part in sixteen of GDDR memory."""
_ECC_STEP = 4
"""Cards with ECC have memory in steps of 4 GiB: 23028 MiB with ECC on are 24 GiB, and 81559 are 80."""
_MOST_WATTS = 20000
"""What a catalogue entry can hold."""
_ASSUMED_POWER = (1, 300, 1000)
"""Minimum, default and maximum in watts where the driver does not tell them: a range that refuses no limit."""


@dataclass(frozen=True)
class Model:
    """What a card is; ``entry`` describes it where the catalogue does not."""

    gpu: Gpu
    entry: Entry[Gpu] | None = None


def identify(card: Card, catalogue: Catalogue) -> Model:
    """The model of a card, by PCI id and memory; NodeError when neither catalogue nor driver knows the card.

    Of several models with one PCI id it is the one whose memory was read; without a reading, the unmodified one.
    """
    pci_id, reading = card.device.pci_id if card.device else None, card.reading
    if pci_id is None:
        raise NodeError(f"the card at {card.address} does not tell its PCI id", "power the rig off and on")
    size = None if reading is None or reading.mig else reading.memory_mib
    if size is None or reading is None:
        known = catalogue.gpu_by_pci_id(pci_id)
        if known is None:
            raise NodeError(
                f"the card at {card.address} ({pci_id}) is not in the catalogue, and no driver says what it is",
                "install the driver and capture again, or describe the card in gpus/ID.yml",
            )
        return Model(known)
    alike = [gpu for gpu in catalogue.gpus.values() if pci_id in gpu.pci_ids]
    fitting = [gpu for gpu in alike if is_right(gpu, size, reading.ecc)]
    if fitting:
        return Model(min(fitting, key=lambda gpu: gpu.modified))
    renamed = [gpu for gpu in catalogue.gpus.values() if _same_name(gpu, reading) and is_right(gpu, size, reading.ecc)]
    if renamed and not alike:
        return _with_another_id(renamed[0], pci_id)
    return _described(card, reading, pci_id, size, catalogue, modified=bool(alike))


def _same_name(gpu: Gpu, reading: GpuReading) -> bool:
    return not gpu.modified and reading.name is not None and plain(gpu.name) == plain(reading.name)


def _with_another_id(gpu: Gpu, pci_id: str) -> Model:
    """A known model under a PCI id that the catalogue does not have yet."""
    made = gpu.model_copy(update={"pci_ids": [*gpu.pci_ids, pci_id]})
    text = f"The shipped entry with one more PCI id, {pci_id}: name and memory are the same."
    return Model(made, Entry(made, (Note((), text),)))


def _described(
    card: Card, reading: GpuReading, pci_id: str, size: int, catalogue: Catalogue, *, modified: bool
) -> Model:
    """A card as it was read. ``modified``: the catalogue knows its PCI id with other memory, as rebuilt cards have."""
    name = reading.name or f"NVIDIA {pci_id}"
    gib = nominal_gib(size, reading.ecc)
    short = slug(name.removeprefix("NVIDIA ").removeprefix("GeForce "))
    identity = unused(f"{short}-{gib}gb" if modified or short in catalogue.gpus else short, catalogue.gpus)
    power, notes = _power(reading)
    if modified:
        notes.append(
            Note(
                ("modified",),
                f"The catalogue knows {pci_id} with other memory than {size} MiB: rebuilt, or faulty?",
            )
        )
    link = Link(card.gen_max or card.gen or 1, declarable(card.width_max or card.width or WIDTHS[-1]))
    if card.port_gen_max is not None and card.gen_max is not None and card.port_gen_max <= card.gen_max:
        text = "As read behind a port that is no faster: some cards then show the port's generation as their own."
        notes.append(Note(("link",), text))
    made = Gpu(
        id=identity,
        name=name,
        architecture=_architecture(pci_id),
        pci_ids=[pci_id],
        link=link,
        memory_gib=gib,
        memory_mib=MemoryTotals(ecc_on=[size]) if reading.ecc else MemoryTotals(ecc_off=[size]),
        power=power,
        modified=modified,
    )
    notes += [
        Note(("architecture",), "Follows from the PCI id."),
        Note(("memory_gib",), f"The nominal size behind {size} MiB."),
    ]
    return Model(made, Entry(made, tuple(notes)))


def nominal_gib(size_mib: int, ecc: bool | None) -> int:
    """The size that a card is sold with, from what nvidia-smi prints."""
    whole = -(-size_mib // 1024)
    with_ecc = round(size_mib * _WITH_ECC / 1024)
    return with_ecc if ecc and whole % _ECC_STEP and with_ecc % _ECC_STEP == 0 else whole


def _architecture(pci_id: str) -> _Architecture:
    device = int(pci_id.partition(":")[2], 16)
    return [name for first, name in _ARCHITECTURES if first <= device][-1]


def _power(reading: GpuReading) -> tuple[PowerRange, list[Note]]:
    read = reading.power or {}
    watts = [round(read[key]) for key in ("minimum", "default", "maximum") if 1 <= read.get(key, 0) <= _MOST_WATTS]
    if len(watts) == len(_ASSUMED_POWER) and watts == sorted(watts):
        minimum, default, maximum = watts
        return PowerRange(minimum=minimum, default=default, maximum=maximum), []
    minimum, default, maximum = _ASSUMED_POWER
    text = "the driver does not tell the range of the power limit: what stands here is a guess"
    return PowerRange(minimum=minimum, default=default, maximum=maximum), [warning(("power",), text)]


def collect(cards: list[Card], catalogue: Catalogue) -> tuple[dict[str, Gpu], Catalogue, list[Entry[Gpu]]]:
    """The model of each card by its address, the catalogue with the models that it lacked, and their entries."""
    models: dict[str, Gpu] = {}
    entries: dict[str, Entry[Gpu]] = {}
    for card in cards:
        model = identify(card, catalogue)
        models[card.address or ""] = model.gpu
        if model.entry is not None:
            entries[model.gpu.id] = model.entry
            catalogue = replace(catalogue, gpus=catalogue.gpus | {model.gpu.id: model.gpu})
    return models, catalogue, list(entries.values())
