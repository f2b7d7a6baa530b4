"""The files: YAML that the loader reads as what it was made of, whatever the node says."""

from __future__ import annotations

import pytest
import yaml

from rigdeploy.capture.model import Entry, Kind, Note
from rigdeploy.capture.text import scalar, text
from rigdeploy.fleet.document import read
from rigdeploy.fleet.models import Build

HOSTILE = [
    "yes", "null", "~", "0x10", "1e3", "12:30:45", "- a", "a: b", "a #b", "*a", "&a", "!vault x", "{{ lookup('env') }}",
    "{% raw %}", "'", '"', "\\", '\\"', "%TAG", "@", "`", "|", ">", "? x", "<<", "ß…😀", "4.0 x16", "0000:41:00.0",
]  # fmt: skip
BROKEN = ["a\nb: c", "a\r\n# b", "a\x00\x1b[31m", "a\u2028b", "a\u202eb", "a\x85b", "\ufeffa", "\ud800"]


@pytest.mark.parametrize("value", HOSTILE)
def test_a_text_is_read_back_as_that_text(value, tmp_path):
    path = tmp_path / "x.yml"
    path.write_text(f"{scalar(value)}: [{scalar(value)}]\n")
    document = read(path)
    assert (document.data, document.problems) == ({value: [value]}, [])


@pytest.mark.parametrize("value", BROKEN)
def test_what_no_line_may_hold_is_gone(value):
    line = scalar(value)
    assert line.isprintable()
    assert isinstance(yaml.safe_load(line), str)


@pytest.mark.parametrize("value", [True, False, 16, 10.0, 2.5])
def test_other_values_are_themselves(value):
    assert yaml.safe_load(scalar(value)) == value


def build(**changes):
    slots = {"PCIE1": {"gpu": "rtx-3090", "link": "4.0 x16"}}
    return Build.model_validate({"name": "b", "board": "x", "slots": slots, "vram_gib": 24} | changes)


def test_a_comment_never_ends_its_line(tmp_path):
    kinds = [Kind.NOTE, Kind.WARNING]
    notes = tuple(Note(place, value, kind) for value in BROKEN for kind in kinds for place in [(), ("slots", "PCIE1")])
    path = tmp_path / "x.yml"
    path.write_text(text(Entry(build(), notes)))
    assert all(line.isprintable() and len(line) <= 120 for line in path.read_text().splitlines())
    document = read(path)
    assert Build.model_validate(document.data | {"name": "b"}) == build()


def test_the_whole_file():
    notes = (
        Note((), "Captured."),
        Note((), "wrong", Kind.WARNING),
        Note(("psu_watts",), "psu_watts is not to be read."),
        Note(("disks", 0), "sda"),
        Note(("slots", "PCIE1"), "noisy"),
        Note(("slots", "PCIE1"), "correctable_errors_per_hour: 2", Kind.SUGGESTION),
    )
    disks = [{"size_gb": 2000, "serial": "{{x}}"}]
    slots = {name: {"gpu": "rtx-3090", "link": "3.0 x1"} for name in ("PCIE1", "no")}
    made = build(cpu={"model": "A B", "cores": 8}, disks=disks, slots=slots, resizable_bar=False)
    assert (
        text(Entry(made, notes))
        == """\
# Captured.
# WARNING: wrong
board: x
cpu: {model: "A B", cores: 8}
# psu_watts is not to be read.
disks:
  # sda
  - {size_gb: 2000, serial: "{{x}}"}
slots:
  # noisy
  PCIE1:
    gpu: rtx-3090
    link: 3.0 x1
    # correctable_errors_per_hour: 2
  "no": {gpu: rtx-3090, link: 3.0 x1}
vram_gib: 24
resizable_bar: false
"""
    )


def test_every_note_of_a_hostile_node_stands_in_its_file(node):
    evil = "x: {{ 1 }}\n'\"#" + "A" * 5000
    hostile = node()
    hostile.document["host"] |= {"vendor": evil, "board": evil, "bios": evil, "kernel": evil, "virtualisation": evil}
    hostile.document["cpu"]["model"] = evil
    hostile.rename_slots(lambda _: evil)
    for disk in hostile.document["disks"]:
        disk |= {"model": evil, "serial": evil}
    for nic in hostile.document["nics"]:
        nic |= {"name": evil, "carrier": False}
    for slot in hostile.rig.build.slots:
        hostile.card(slot)["device"] = "2786"
        hostile.reading(slot).update(name=evil, pci_id="10de:2786", memory_mib=12282)
    captured = hostile.capture()
    hostile.verdict(captured)  # which reads the files back
    assert {entry.path.parts[0] for entry in captured.entries} == {"builds", "boards", "gpus"}
    for entry in captured.entries:
        lines = text(entry).splitlines()
        assert all(line.isprintable() for line in lines)
        shown = "".join(line.strip().removeprefix("# ") for line in lines).replace(" ", "")
        assert [note for note in entry.notes if note.text[:30].replace(" ", "") not in shown] == []


def test_a_node_that_exaggerates(node):
    huge = (1 << 53) - 1
    hostile = node()
    hostile.document["host"]["uptime_seconds"] = 1e-300
    hostile.document["cpu"] |= {"cores": 65535, "sockets": 65535}
    hostile.document["memory"] |= {"total_mib": huge, "installed_mib": huge, "channels": huge}
    hostile.document["disks"][0]["size_mib"] = huge
    hostile.document["slots"] = [{"name": f"S{number}", "address": "0000:f0:01.1"} for number in range(5000)]
    for slot in hostile.rig.build.slots:
        hostile.card(slot).update(device="2786", bars_mib=[1 << 23])
        hostile.card(slot)["aer"]["correctable"]["total"] = huge
        power = dict.fromkeys(("enforced", "limit", "default", "minimum", "maximum"), 1e15)
        hostile.reading(slot).update(pci_id="10de:2786", memory_mib=(1 << 24) - 1, power=power)
    captured = hostile.capture()
    hostile.verdict(captured)
    assert captured.build.model.memory is None
    assert captured.build.model.disks == []
