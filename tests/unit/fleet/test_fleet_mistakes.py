"""Each mistake that an owner may make gets one message, at the right line, in words that help."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from small_fleet import BUILD, FLEET, MakeFleet

from rigdeploy.cli import main
from rigdeploy.errors import DeclarationError
from rigdeploy.fleet.load import load_fleet

SECRET = "Tr0ub4dor-and-3"


@dataclass(frozen=True)
class Mistake:
    """``old`` becomes ``new`` in one file; the message names the last line that holds ``at`` in the changed file."""

    name: str
    old: str
    new: str
    at: str
    path: str
    words: tuple[str, ...]
    file: str = "fleet.yml"


MISTAKES = [
    Mistake("unknown key", "    address: 192.0.2.12", "    adress: 192.0.2.12", "adress", "rigs.rig02.adress",
            ("unknown key 'adress'", "did you mean 'address'")),
    Mistake("unknown nested key", "username: admin", "user: root\n      username: admin", "user: root",
            "rigs.rig01.power.user", ("unknown key 'user'", "username")),
    Mistake("unknown key at the top", "rigs:\n", "rig:\n  a: 1\nrigs:\n", "rig:", "rig", ("unknown key 'rig'", "rigs")),
    Mistake("missing address", "    address: 192.0.2.12\n", "", "rig02:", "rigs.rig02.address",
            ("'address' is missing",)),
    Mistake("missing power", "    power: {driver: manual}\n", "", "rig02:", "rigs.rig02.power",
            ("'power' is missing",)),
    Mistake("not our plugin", "plugin: rigdeploy", "plugin: aws_ec2", "plugin", "plugin", ("rigdeploy",)),
    Mistake("no plugin line", "plugin: rigdeploy\n", "", "rigs:", "plugin", ("'plugin: rigdeploy' is missing",)),
    Mistake("unknown build", "build: pro-4x3090", "build: pro-4x3080", "build: pro", "rigs.rig01.build",
            ("no build is called 'pro-4x3080'", "did you mean 'pro-4x3090'")),
    Mistake("unknown power driver", "driver: manual", "driver: manul", "manul", "rigs.rig02.power.driver",
            ("found 'manul'", "'manual'")),
    Mistake("no power driver", "{driver: manual}", "{timeout_seconds: 5}", "timeout", "rigs.rig02.power.driver",
            ("'driver' is missing",)),
    Mistake("text for a number", "      username: admin", "      port: lan\n      username: admin", "port: lan",
            "rigs.rig01.power.port", ("found 'lan'", "a whole number")),
    Mistake("octal trap", "      username: admin", "      port: 0623\n      username: admin", "port: 0623",
            "rigs.rig01.power.port", ("found '0623'", "a whole number")),
    Mistake("port out of range", "      username: admin", "      port: 70000\n      username: admin", "port: 70000",
            "rigs.rig01.power.port", ("found 70000", "at most 65535")),
    Mistake("number for text", 'address: 192.0.2.12', "address: 12", "address: 12", "rigs.rig02.address",
            ("found 12", "text is wanted", "quotes")),
    Mistake("float for a version", '      driver: "580"', '      driver: "580"\n      cuda: 13.0', "cuda",
            "rigs.rig01.gpu_stack.cuda", ("found 13.0", "quotes")),
    Mistake("not a branch", 'driver: "580"', 'driver: "580.95"', "580.95", "rigs.rig01.gpu_stack.driver",
            ("found '580.95'", 'such as "580"')),
    Mistake("yes is a boolean", "    power: {driver: manual}", "    power: {driver: manual}\n    base: {hostname: on}",
            "hostname", "rigs.rig02.base.hostname", ("found true", "quotes")),
    Mistake("not a mirror", "https://mirror", "ftp://mirror", "ftp", "rigs.rig01.gpu_stack.mirror.url", ("http://",)),
    Mistake("not a secret", "{env: RIG01_BMC_PASSWORD}", "{vault: x}", "vault", "rigs.rig01.power.password",
            ("{env: VARIABLE}", "!vault")),
    Mistake("a rig that is text", "  rig02:\n", "  rig03: 192.0.2.13\n  rig02:\n", "rig03", "rigs.rig03",
            ("found '192.0.2.13'", "address, build and power")),
    Mistake("rig name", "  rig02:\n", "  Rig_02:\n", "Rig_02", "rigs.Rig_02", ("cannot be a rig's name", "lower-case")),
    Mistake("number for a key", "  rig02:\n", "  2:\n", "  2:", "rigs", ("key 2 is no string", '"2"')),
    Mistake("rig twice", "  rig02:\n", "  rig01:\n", "rig01:", "rigs.rig01", ("a second time", "line 3")),
    Mistake("one address twice", "192.0.2.12", "192.0.2.11", "192.0.2.11", "rigs.rig02.address",
            ("192.0.2.11 is the address of rig01 already",)),
    Mistake("one BMC twice", "build: mine\n    power: {driver: manual}",
            "build: pro-4x3090\n    power: {driver: ipmi, address: 192.0.2.111, username: a, password: {env: B}}",
            "192.0.2.111", "rigs.rig02.power.address", ("192.0.2.111 is the BMC of rig01 already",)),
    Mistake("BMC and node on one address", "192.0.2.111", "192.0.2.11", "192.0.2.11", "rigs.rig01.power.address",
            ("a BMC has its own",)),
    Mistake("time zone", "{driver: manual}", "{driver: manual}\n    base: {timezone: Europe/Berlyn}", "Berlyn",
            "rigs.rig02.base.timezone", ("no time zone is called 'Europe/Berlyn'",)),
    Mistake("the way in as a user", "{driver: manual}",
            "{driver: manual}\n    base: {users: [{name: root, keys: [ssh-ed25519 AAAA me]}]}", "root",
            "rigs.rig02.base.users.0.name", ("the way in",)),
    Mistake("a user twice", "{driver: manual}", "{driver: manual}\n    base:\n      users:\n"
            "        - {name: ann, keys: [ssh-ed25519 AAAA]}\n        - {name: ann, keys: [ssh-ed25519 BBBB]}", "BBBB",
            "rigs.rig02.base.users.1.name", ("ann is declared already",)),
    Mistake("mount point through ..", "{driver: manual}",
            "{driver: manual}\n    base: {data_disk: {serial: A1, mount: /srv/../etc}}", "serial",
            "rigs.rig02.base.data_disk.mount", ("an absolute path",)),
    Mistake("option for ssh", "192.0.2.12", "-oProxyCommand=id", "Proxy", "rigs.rig02.address", ("host name",)),
    Mistake("tab", "    build: mine", "\tbuild: mine", "\tbuild", "", ("not valid YAML",)),
    Mistake("unclosed quote", 'driver: "580"', 'driver: "580', "", "", ("not valid YAML", "quote")),
    Mistake("missing colon", "    build: mine", "    build mine", "power: {driver: manual}", "", ("not valid YAML",)),
    Mistake("unknown tag", "build: mine", "build: !hurz mine", "hurz", "rigs.rig02.build", ("only !vault",)),
    Mistake("unknown alias", "build: mine", "build: *mine", "*mine", "", ("'*' must be quoted",)),
    Mistake("two documents", "  rig02:", "---\n  rig02:", "", "", ("not valid YAML",)),
    # The build's own file.
    Mistake("two cards in one slot", "  PCI_E2:\n", "  PCI_E1:\n", "PCI_E1:\n", "slots.PCI_E1",
            ("two cards in one slot", "line 6"), "builds/mine.yml"),
    Mistake("unknown board", "msi-mpg-x670e-carbon-wifi", "msi-mpg-x670-carbon-wifi", "board", "board",
            ("no board is called", "did you mean 'msi-mpg-x670e-carbon-wifi'"), "builds/mine.yml"),
    Mistake("unknown GPU", "{gpu: rtx-4090,", "{gpu: rtx-4091,", "4091", "slots.PCI_E1.gpu",
            ("no GPU is called 'rtx-4091'", "did you mean 'rtx-4090'"), "builds/mine.yml"),
    Mistake("unknown slot", "  PCI_E2:\n", "  PCIE2:\n", "PCIE2", "slots.PCIE2",
            ("no slot 'PCIE2'", "did you mean 'PCI_E2'"), "builds/mine.yml"),
    Mistake("not a link", "    link: 4.0 x8", "    link: 4.0 x12", "x12", "slots.PCI_E2.link",
            ("'4.0 x12' is not a PCIe link",), "builds/mine.yml"),
    Mistake("a link that is a number", "    link: 4.0 x8", "    link: 4.0", "link: 4.0\n", "slots.PCI_E2.link",
            ("found 4.0", "'4.0 x16'"), "builds/mine.yml"),
    Mistake("beyond the card", "    link: 4.0 x8", "    link: 5.0 x8", "5.0", "slots.PCI_E2.link",
            ("RTX 4090 cannot do 5.0 x8", "4.0 x16"), "builds/mine.yml"),
    Mistake("beyond the slot", "PCI_E2:", "PCI_E3:", "    link: 4.0 x8", "slots.PCI_E3.link",
            ("cannot do 4.0 x8", "4.0 x4", "PCI_E1"), "builds/mine.yml"),
    Mistake("lanes shared", "{gpu: rtx-4090, link: 4.0 x8}", "{gpu: rtx-4090, link: 4.0 x16}", "PCI_E1",
            "slots.PCI_E1.link", ("need 24 lanes", "share 16", "x8"), "builds/mine.yml"),
    Mistake("VRAM is no sum", "vram_gib: 48", "vram_gib: 64", "vram", "vram_gib",
            ("found 64", "24 + 24 = 48"), "builds/mine.yml"),
    Mistake("power supply", "psu_watts: 1600", "psu_watts: 1000", "psu", "psu_watts",
            ("1000 W cannot carry", "900 W", "170 W", "1130 W"), "builds/mine.yml"),
    Mistake("power limit", "    link: 4.0 x8", "    link: 4.0 x8\n    power_limit_watts: 900", "900",
            "slots.PCI_E2.power_limit_watts", ("no power limit of 900 W", "150 to 600 W"), "builds/mine.yml"),
    Mistake("memory", "size_gib: 96", "size_gib: 512", "size_gib", "memory.size_gib",
            ("192 GiB at most",), "builds/mine.yml"),
    Mistake("channels", "channels: 2", "channels: 8", "channels", "memory.channels",
            ("2 memory channels",), "builds/mine.yml"),
    Mistake("bridge from a slot to itself", "slots:", "nvlink: [[PCI_E1, PCI_E1]]\nslots:", "nvlink", "nvlink.0",
            ("not PCI_E1 with itself",), "builds/mine.yml"),
    Mistake("one disk twice", "slots:", "disks:\n- {size_gb: 1000, serial: A1}\n- {size_gb: 1000, serial: A1}\nslots:",
            "A1", "disks.1.serial", ("serial number 'A1' is declared already",), "builds/mine.yml"),
    Mistake("no memory size", "{size_gib: 96, channels: 2}", "{channels: 2}", "memory", "memory.size_gib",
            ("'size_gib' is missing",), "builds/mine.yml"),
    Mistake("another name", "board: msi", "name: other\nboard: msi", "name", "name", ("not the file's name, mine",),
            "builds/mine.yml"),
    Mistake("no slots", BUILD[BUILD.index("slots:") : BUILD.index("vram")], "slots: {}\n", "slots", "slots",
            ("no slot holds a card",), "builds/mine.yml"),
]  # fmt: skip


def changed(mistake: Mistake) -> dict[str, str]:
    texts = {"fleet": FLEET, "build": BUILD}
    key = "fleet" if mistake.file == "fleet.yml" else "build"
    assert mistake.old in texts[key], "the mistake changes nothing"
    texts[key] = texts[key].replace(mistake.old, mistake.new, 1)
    return texts


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_one_message_at_the_right_place(
    mistake: Mistake, make_fleet: MakeFleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = changed(mistake)
    make_fleet(**texts)
    monkeypatch.setattr("sys.argv", ["rigdeploy", "check"])
    assert main.run() == 4
    shown = capsys.readouterr()
    messages = [line for line in shown.err.splitlines() if line.startswith(("error:", "warning:"))]
    assert len(messages) == 1, shown.err
    assert "1 error" in shown.out
    assert "Traceback" not in shown.err
    where = f"inventory/{mistake.file}"
    if mistake.at:
        text = texts["fleet" if mistake.file == "fleet.yml" else "build"]
        line = text.count("\n", 0, text.rindex(mistake.at)) + 1
        where += f":{line}"
    prefix = f"error: {where}: {mistake.path}: " if mistake.path else f"error: {where}"
    assert messages[0].startswith(prefix), messages[0]
    for word in mistake.words:
        assert word in shown.err


@pytest.mark.parametrize("name", ["unknown key", "power supply"])
def test_json_carries_the_same(
    name: str, make_fleet: MakeFleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mistake = next(mistake for mistake in MISTAKES if mistake.name == name)
    make_fleet(**changed(mistake))
    monkeypatch.setattr("sys.argv", ["rigdeploy", "check", "--json"])
    assert main.run() == 4
    [problem] = json.loads(capsys.readouterr().out)["problems"]
    assert problem["file"] == f"inventory/{mistake.file}"
    assert problem["path"] == mistake.path
    assert problem["severity"] == "error"
    assert isinstance(problem["line"], int)


def test_all_mistakes_at_once(make_fleet: MakeFleet) -> None:
    fleet = FLEET.replace("username: admin", "usrname: admin").replace("address: 192.0.2.12", "address: 12")
    with pytest.raises(DeclarationError) as caught:
        load_fleet(make_fleet(fleet, BUILD.replace("vram_gib: 48", "vram_gib: 49")))
    assert [problem.path for problem in caught.value.problems] == [
        "vram_gib",
        "rigs.rig01.power.usrname",
        "rigs.rig02.address",
    ]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"# nothing\n",
        b"[]",
        b"- a\n- b\n",
        b"just text",
        b"42",
        b"\x00\x01\x02\xff\xfe",
        b"\xff\xfe\x00plugin",
        b"plugin: rigdeploy\nrigs: []\n",
        b"plugin: rigdeploy\nrigs: {}\n",
        b"plugin: rigdeploy\nrigs: text\n",
        b"plugin: rigdeploy\nrigs:\n",
        b"plugin: rigdeploy\nrigs: {? [a, b] : c}\n",
        b"plugin: rigdeploy\nrigs: {null: {}}\n",
        b"[" * 100_000,
        b"{a: " * 5_000,
        b"a: &a [*a]\n",
        b"plugin: rigdeploy\nrigs: &r {rig01: *r}\n",
        b"a: &a [x,x,x,x,x,x,x,x]\n"
        + b"".join(b"%c: &%c [%s]\n" % (i, i, b",".join([b"*%c" % (i - 1)] * 8)) for i in range(ord("b"), ord("k"))),
        b"plugin: !!python/object/apply:os.system [id]\nrigs: {}\n",
        b"plugin: rigdeploy\nrigs:\n  rig01: {address: 2001-01-01, build: [x], power: null, override: 3}\n",
        b"plugin: rigdeploy\nrigs: {rig01: {gpu_stack: {driver: []}}}\n",
        b"plugin: rigdeploy\nrigs: {rig01: {build: pro-4x3090, power: {driver: [a]}, override: {slots: 3}}}\n",
        b"plugin: rigdeploy\nrigs:\n  rig01: {address: x, build: ../../etc/passwd, power: {driver: manual}}\n",
        b"a: " + b"9" * 10_000,
        b"<<: 3\nplugin: rigdeploy\nrigs: {}\n",
        b"x: " + b"y" * (5 << 20),
    ],
    ids=range(27),
)  # fmt: skip
def test_no_file_ends_in_a_traceback(
    text: bytes, make_fleet: MakeFleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_fleet(text)
    monkeypatch.setattr("sys.argv", ["rigdeploy", "check"])
    assert main.run() == 4
    shown = capsys.readouterr().err
    assert shown.startswith("error: inventory/fleet.yml")


@pytest.mark.parametrize(
    "value",
    [
        f"[{SECRET}]",
        f"{{{SECRET}}}",
        f"{{inline: {SECRET}}}",
        f"*{SECRET}",
        f"!{SECRET} x",
        f'{{command: "\'{SECRET}"}}',
    ],
)
def test_a_mistyped_password_is_not_repeated(
    value: str, make_fleet: MakeFleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_fleet(FLEET.replace("{env: RIG01_BMC_PASSWORD}", value))
    monkeypatch.setattr("sys.argv", ["rigdeploy", "check"])
    assert main.run() == 4
    shown = capsys.readouterr()
    assert SECRET not in shown.err + shown.out
    assert "error:" in shown.err


def test_warnings_alone_end_in_one(
    make_fleet: MakeFleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_fleet(FLEET.replace("    build: mine", "    build: mine\n    training: true"), BUILD.replace("96", "64"))
    monkeypatch.setattr("sys.argv", ["rigdeploy", "check"])
    assert main.run() == 1
    shown = capsys.readouterr()
    assert "warning: inventory/fleet.yml:17: rigs.rig02.training: training wants 96 GiB" in shown.err
    assert shown.out == "2 rigs, 6 cards, 1 warning\n"
