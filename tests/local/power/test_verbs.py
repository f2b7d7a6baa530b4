"""What every verb of the command line does by every driver that talks to a BMC, as others see it; and no secret shows.

The table is the statement: a verb that a driver gains or loses, or a new verb, fails until it stands there.
"""

from __future__ import annotations

import os
import pty
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from command_line import Fleet
from judges import HttpJudge, IpmiJudges
from planted import ProcessWatch, files_with, shown
from power_servers import StrictBmc
from redfish_emulator import Emulator
from simulator import Simulator
from test_console import Board

from rigdeploy.cli.main import commands

PASSWORD = "Pl4nted/p+ss=w%d"
"""Every encoding of it is another text."""

TABLE = """
                        ipmi                      ipmitool                  redfish
                        simulator    fake         simulator    fake         emulator     strict

power status            yes          yes          yes          yes          yes          yes
power on                yes          yes          yes          yes          yes          yes
power off               yes          yes          yes          yes          yes          yes
power cycle             yes          yes          yes          yes          yes          yes
power cycle --boot      yes          yes          yes          yes          yes          yes
power reset             yes          yes          yes          yes          yes          yes
power soft              yes          yes          yes          yes          yes          yes
boot pxe                yes          yes          yes          yes          yes          yes
boot disk               yes          yes          yes          yes          yes          yes
boot cd                 yes          yes          yes          yes          yes          yes
boot bios               yes          yes          yes          yes          unsupported  yes
boot status             yes          yes          yes          yes          yes          yes
boot none               yes          yes          yes          yes          refused      yes
bmc sensors             yes          yes          yes          yes          yes          yes
bmc sel                 yes          yes          yes          yes          unsupported  yes
bmc sel --clear         yes          yes          yes          yes          unsupported  yes
bmc fru                 yes          yes          yes          yes          yes          yes
bmc identify            yes          yes          yes          yes          yes          yes
bmc identify --off      yes          yes          yes          yes          yes          yes
bmc user rotate         yes          yes          yes          yes          unsupported  yes
bmc probe               yes          yes          yes          yes          yes          yes
bmc console             yes          unsupported  yes          unsupported  unsupported  unsupported
"""
"""yes: it works, and the judges agree. Else the kind of the error, and nothing was changed.

simulator: OpenIPMI's (suite 3). fake: ours (suite 17; it has no serial console). emulator: sushy-tools' (it has no
event log, no users, no firmware setup, and a boot device that can be set and not taken back). strict: ours, as AMI's
firmware is.
"""


def columns() -> dict[tuple[str, str], dict[str, str]]:
    """Driver and BMC -> verb -> cell."""
    drivers, bmcs, *rows = [re.split(r"\s{2,}", line.strip()) for line in TABLE.splitlines() if line.strip()]
    heads = [(drivers[index // 2], bmc) for index, bmc in enumerate(bmcs)]
    return {head: {verb: cells[index] for verb, *cells in rows} for index, head in enumerate(heads)}


@dataclass
class Rig:
    """A rig that the command line knows as rig01, and who sees its BMC beside us."""

    fleet: Fleet
    bmc: Any
    judge: Any
    said: list[str | bytes]

    def run(self, *words: str) -> tuple[int, dict[str, Any]]:
        code, rows = self.fleet.rows(*words, "rig01")
        self.said.append(str(rows))
        return code, rows["rig01"]

    @property
    def stored(self) -> Path:
        return self.fleet.directory / "inventory" / "rig01.password"


# --- a verb, and what is to be seen of it -----------------------------------------------------------

Agrees = Callable[[Rig, dict[str, Any]], bool]


def powered(state: str) -> Agrees:
    return lambda rig, row: row["state"] == rig.judge.power == state and row["changed"] is True


def booting(device: str) -> Agrees:
    return lambda rig, row: row["device"] == rig.judge.boot == device


def cycled(rig: Rig, row: dict[str, Any]) -> bool:
    return powered("on")(rig, row) and bool(rig.judge.booted == "pxe")


def rotated(rig: Rig, row: dict[str, Any]) -> bool:
    new = rig.stored.read_text().rstrip("\n")
    assert new != PASSWORD
    assert row["stored"] == str(rig.stored)
    assert stat.S_IMODE(rig.stored.stat().st_mode) == 0o600
    rig.judge.learn(new)
    return bool(rig.judge.power)  # it is let in


VERBS: dict[str, tuple[str, Agrees]] = {
    "power status": ("", lambda rig, row: row["state"] == rig.judge.power == "off"),
    "power on": ("", powered("on")),
    "power off": ("--yes", powered("off")),
    "power cycle": ("--yes", powered("on")),
    "power cycle --boot": ("pxe --yes", cycled),
    "power reset": ("--yes", powered("on")),
    "power soft": ("--yes", powered("off")),
    "boot pxe": ("", booting("pxe")),
    "boot disk": ("", booting("disk")),
    "boot cd": ("", booting("cd")),
    "boot bios": ("", booting("bios")),
    "boot status": ("", lambda rig, row: row["device"] == rig.judge.boot),
    "boot none": ("", booting("none")),
    "bmc sensors": ("", lambda rig, row: rig.judge.temperature in [sensor["value"] for sensor in row["sensors"]]),
    "bmc sel": ("", lambda rig, row: len(row["events"]) == rig.judge.events > 0),
    "bmc sel --clear": ("--yes", lambda rig, row: row["cleared"] is True and rig.judge.events == 0),
    "bmc fru": ("", lambda rig, row: row["inventory"].get("board_serial", "") == rig.judge.serial),
    "bmc identify": ("", lambda rig, row: row["lit_seconds"] == 120 and rig.judge.lamp),
    "bmc identify --off": ("", lambda rig, row: row["lit_seconds"] == 0 and not rig.judge.lamp),
    "bmc user rotate": ("--yes", rotated),
    "bmc probe": ("", lambda _, row: row["facts"]["refused"] == "" and row["findings"]),
}
"""Its further words, and whether the judges agree with what it printed."""
_AUDITS = (0, 1, 2, 3)


def cell(rig: Rig, verb: str) -> str:
    """Run it, and say what came of it as the table does."""
    if verb == "bmc console":
        return console(rig)
    words, agrees = VERBS[verb]
    before = rig.judge.touched
    code, row = rig.run(*verb.split(), *words.split())
    if row["error"] is None:
        assert code in (_AUDITS if verb == "bmc probe" else (0,)), (verb, code)
        return "yes" if agrees(rig, row) else f"the judges see something else: {row}"
    assert code == 5, (verb, code)
    assert "rig01" in row["error"]["message"]
    if "refused" not in (kind := short(row["error"]["kind"])):
        assert rig.judge.touched == before, verb
    return kind


def short(kind: str) -> str:
    return kind.removeprefix("Power").removesuffix("Error").lower()


def console(rig: Rig) -> str:
    """Run it at a terminal, see what the board says, type, and leave."""
    board = Board(rig.bmc.console) if isinstance(rig.bmc, Simulator) else None
    ours, theirs = pty.openpty()
    person = subprocess.Popen(
        [Path(sys.executable).with_name("rigdeploy"), "bmc", "console", "rig01"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"RIGDEPLOY_INVENTORY": str(rig.fleet.directory / "inventory")},
        start_new_session=True,
    )
    os.close(theirs)
    shown, typed = b"", False
    with suppress(OSError):  # the terminal's other end closes
        while piece := os.read(ours, 4096):
            shown += piece
            if board is not None and b"to leave" in shown and b"login: " not in shown:
                board.say(b"login: ")
            if b"login: " in shown and not typed:
                os.write(ours, b"root\r~.")
                typed = True
    os.close(ours)
    rig.said.append(shown)
    code = person.wait(20)
    if code == 0:
        deadline = time.monotonic() + 5
        while board is not None and b"root" not in board.typed and time.monotonic() < deadline:
            time.sleep(0.05)
        return "yes" if typed and board is not None and b"root" in board.typed else f"not seen: {shown!r}"
    assert code == 5, shown
    assert b"rig01" in shown
    return "unsupported" if re.search(rb"has no console over IPMI|has no serial over LAN", shown) else repr(shown)


# --- the table --------------------------------------------------------------------------------------


@pytest.fixture
def rig(fleet, tmp_path, monkeypatch, request) -> Iterator[Rig]:
    """The rig of one column of the table; its BMC's own files are in a directory of their own."""
    driver, kind = request.param
    for tool in () if driver == "redfish" else ("ipmi_sim", "ipmitool", "ipmipower"):
        if shutil.which(tool) is None:
            packages = "Debian: openipmi, ipmitool, freeipmi-tools"
            pytest.skip(f"not tested: every verb by {driver}; {tool} is missing ({packages})")
    monkeypatch.setattr("rigdeploy.power.policy.LOST_PATIENCE", 0.5)
    directory = Path(tempfile.mkdtemp(prefix="bmc", dir=tmp_path.parent))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    fleet.password = PASSWORD
    if kind == "fake":
        bmc = fleet.add("rig01", driver=driver)
        yield Rig(fleet, bmc, IpmiJudges(bmc, directory, PASSWORD), [])
    elif kind == "simulator":
        bmc = Simulator(directory, PASSWORD)
        try:
            fleet.add_ipmi("rig01", bmc, driver=driver)
            yield Rig(fleet, bmc, IpmiJudges(bmc, directory, PASSWORD), [])
        finally:
            bmc.stop()
    elif kind == "emulator":
        with closing(Emulator(directory, ["node1"], password=PASSWORD)) as bmc:
            fleet.add_redfish("rig01", bmc.url)
            yield Rig(fleet, bmc, HttpJudge(bmc, PASSWORD), [])
    else:
        with closing(StrictBmc()) as bmc:
            bmc.password = PASSWORD
            fleet.add_redfish("rig01", bmc.url)
            yield Rig(fleet, bmc, HttpJudge(bmc, PASSWORD), [])


COLUMNS = columns()


@pytest.mark.parametrize("rig", COLUMNS, ids=" ".join, indirect=True)
def test_every_verb_does_what_the_table_says_and_shows_no_secret(rig, request):
    [column] = [column for head, column in COLUMNS.items() if " ".join(head) in request.node.name]
    with ProcessWatch() as watch:
        assert {verb: cell(rig, verb) for verb in column} == column
        for verb in ("power status", "boot status", "bmc sensors", "bmc fru", "bmc probe"):
            code, out, err = rig.fleet.run(*verb.split(), "rig01")
            assert code in (_AUDITS if verb == "bmc probe" else (0,))
            assert out.startswith("rig01")
            rig.said += [out, err]
    now = rig.stored.read_text().rstrip("\n")
    assert (now == PASSWORD) == (column["bmc user rotate"] != "yes")
    for secret in {PASSWORD, now}:
        told, seen = shown(secret, *rig.said), shown(secret, *watch.seen)  # a failure does not print it all
        assert (told, seen) == ([], [])
        assert files_with(secret, rig.fleet.directory) == ({rig.stored} if secret == now else set())
    assert len(watch.seen) > 10


def test_every_verb_of_the_command_line_is_in_the_table():
    def leaves(group: click.Group, words: str) -> Iterator[str]:
        context = click.Context(group)
        for name in group.list_commands(context):
            found = group.get_command(context, name)
            if isinstance(found, click.Group):
                yield from leaves(found, f"{words} {name}")
            else:
                yield f"{words} {name}"

    context = click.Context(commands)
    known = {verb.partition(" --")[0] for column in COLUMNS.values() for verb in column}
    for name in ("power", "boot", "bmc"):
        group = commands.get_command(context, name)
        assert isinstance(group, click.Group)
        assert set(leaves(group, name)) == {verb for verb in known if verb.startswith(f"{name} ")}


def test_a_secret_is_known_in_every_disguise():
    import base64
    from urllib.parse import quote

    for text in (
        PASSWORD,
        quote(PASSWORD, safe=""),
        base64.b64encode(f"admin:{PASSWORD}".encode()).decode(),
        base64.b64encode(f"roott:{PASSWORD}!".encode()).decode(),
        base64.b64encode(f"oper7.:{PASSWORD}".encode()).decode(),
        PASSWORD.encode().hex(" "),
    ):
        assert shown(PASSWORD, f"before{text}behind")
    assert not shown(PASSWORD, "Pl4nted", base64.b64encode(b"admin:other-password-1"))
