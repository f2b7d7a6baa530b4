"""Secrets come from where they are declared to be, late, and show nowhere."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from small_fleet import FLEET, MakeFleet

from rigdeploy.errors import SecretError
from rigdeploy.fleet.load import load_fleet
from rigdeploy.fleet.models import IpmiPower, Rig
from rigdeploy.fleet.secrets import Secret

SECRET = "Tr0ub4dor-and-3"


def rig_with(password: str, make_fleet: MakeFleet) -> Rig:
    return load_fleet(make_fleet(FLEET.replace("{env: RIG01_BMC_PASSWORD}", password))).rigs["rig01"]


def password_of(rig: Rig) -> Secret:
    assert isinstance(rig.power, IpmiPower)
    return rig.power.password


def test_from_the_environment(make_fleet: MakeFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = password_of(rig_with("{env: RIG01_BMC_PASSWORD}", make_fleet))
    monkeypatch.delenv("RIG01_BMC_PASSWORD", raising=False)
    with pytest.raises(SecretError, match="environment variable RIG01_BMC_PASSWORD is not set"):
        secret.reveal()
    monkeypatch.setenv("RIG01_BMC_PASSWORD", SECRET)
    assert secret.reveal() == SECRET
    monkeypatch.setenv("RIG01_BMC_PASSWORD", "")
    with pytest.raises(SecretError, match="empty"):
        secret.reveal()


def test_from_a_file_beside_the_inventory(
    make_fleet: MakeFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = password_of(rig_with("{file: secrets/bmc}", make_fleet))
    with pytest.raises(SecretError, match=r"inventory/secrets/bmc, .* cannot be read: No such file"):
        secret.reveal()
    (tmp_path / "inventory" / "secrets").mkdir()
    (tmp_path / "inventory" / "secrets" / "bmc").write_text(f"{SECRET}\n")
    monkeypatch.chdir("/")
    assert secret.reveal() == SECRET


def test_from_a_command_without_a_shell(make_fleet: MakeFleet) -> None:
    secret = password_of(rig_with(f'{{command: "printf %s $HOME;{SECRET}"}}', make_fleet))
    assert secret.reveal() == f"$HOME;{SECRET}"
    assert str(secret) == "command:printf"


@pytest.mark.parametrize("command", ["false", "no-such-program", f"sh -c 'echo {SECRET} >&2; exit 3'"])
def test_a_command_that_fails_is_named_without_its_output(command: str) -> None:
    with pytest.raises(SecretError) as caught:
        Secret("command", command).reveal()
    assert command.split(maxsplit=1)[0] in caught.value.message
    assert SECRET not in caught.value.message + caught.value.remedy


def test_from_ansible_vault(make_fleet: MakeFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = tmp_path / "vault-password"
    key.write_text("open sesame\n")
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", str(key))
    tool = [sys.executable, "-m", "ansible", "vault", "encrypt_string", "--stdin-name", "password"]
    done = subprocess.run(tool, input=SECRET, capture_output=True, text=True, check=True)
    value = done.stdout.split(":", 1)[1]
    secret = password_of(rig_with(value, make_fleet))
    assert secret.kind == "vault"
    assert secret.reveal() == SECRET
    monkeypatch.delenv("ANSIBLE_VAULT_PASSWORD_FILE")
    with pytest.raises(SecretError):
        secret.reveal()


def test_inline_is_allowed_and_warned_of(make_fleet: MakeFleet) -> None:
    fleet = load_fleet(make_fleet(FLEET.replace("{env: RIG01_BMC_PASSWORD}", SECRET)))
    assert password_of(fleet.rigs["rig01"]).reveal() == SECRET
    [problem] = fleet.problems
    assert problem.severity == "warning"
    assert SECRET not in str(problem) + problem.remedy


@pytest.mark.parametrize("kind", ["inline", "command", "vault"])
def test_nothing_shows_a_secret(kind: str, make_fleet: MakeFleet) -> None:
    rig = rig_with(SECRET, make_fleet)
    secret = Secret(kind, f"echo {SECRET}")  # type: ignore[arg-type]  # the kinds are strings here
    rig = rig.model_copy(update={"power": rig.power.model_copy(update={"password": secret})})
    texts = [
        repr(rig),
        str(rig),
        str(secret),
        f"{secret}",
        repr([secret]),
        rig.model_dump_json(),
        str(rig.model_dump()),
    ]
    assert not [text for text in texts if SECRET in text]
    assert json.loads(rig.model_dump_json())["power"]["password"] == str(secret)


def test_a_secret_can_be_copied() -> None:
    secret = Secret("inline", SECRET)
    assert pickle.loads(pickle.dumps(secret)).reveal() == copy.deepcopy(secret).reveal() == SECRET
