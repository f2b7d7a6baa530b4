import json

import pytest
import yaml

from rigdeploy.fleet.catalogue import Catalogue
from rigdeploy.fleet.driver_choice import DriverChoiceError
from tests.unit.plugins.conftest import load

action = load("action", "rig_driver_choice")
module = load("modules", "rig_driver_choice")

NODE = {
    "observation": {
        "schema": 1,
        "host": {"secure_boot": False},
        "pci": [
            {"address": "0000:01:00.0", "vendor": "10de", "device": "2204", "class": "030000"},
            {"address": "0000:01:00.1", "vendor": "10de", "device": "1aef", "class": "040300"},
            {"address": "0000:02:00.0", "vendor": "1002", "device": "744c", "class": "030000"},
        ],
    },
    "branch": "580",
    "modules": "auto",
    "source": "nvidia",
    "distribution": "Debian",
    "distribution_version": "12.11",
    "kernel": "6.1.0-41-amd64",
    "container": False,
    "secure_boot": None,
}


def test_the_choice_is_data(catalogue):
    result = action.chosen(NODE, catalogue)
    choice = result["choice"]
    assert result["changed"] is False
    assert result["msg"] == choice["why"]
    assert (choice["flavour"], choice["packages"][0]) == ("open", "nvidia-kernel-open-dkms")
    assert choice["headers"] == ("linux-headers-6.1.0-41-amd64", "linux-headers-amd64")
    assert json.loads(json.dumps(choice))["version"] == "580.*"


def test_what_the_documentation_lists_is_what_comes_back(catalogue):
    [documented] = yaml.safe_load(module.RETURN).values()
    assert set(documented["contains"]) == set(action.chosen(NODE, catalogue)["choice"])
    assert set(yaml.safe_load(module.DOCUMENTATION)["options"]) == set(action.ARGUMENTS)


def test_names_are_the_catalogues_where_it_has_the_card(catalogue):
    new = {"address": "0000:03:00.0", "vendor": "10de", "device": "2b85", "class": "030000"}
    old = {"address": "0000:04:00.0", "vendor": "10de", "device": "2204", "class": "030000"}
    owners = catalogue.gpus["rtx-3090"].model_copy(update={"name": "My card", "architecture": "pascal"})
    own = Catalogue(gpus={"mine": owners, "rtx-5090": catalogue.gpus["rtx-5090"]})
    with pytest.raises(DriverChoiceError, match=r"both My card .* and NVIDIA GeForce RTX 5090"):
        action.chosen(NODE | {"observation": {"schema": 1, "pci": [new, old]}}, own)


@pytest.mark.parametrize(
    ("observed", "given", "refused"),
    [(True, None, True), (False, None, False), (None, None, False), (True, False, False), (False, True, True)],
)
def test_a_variable_overrides_what_was_observed_of_secure_boot(catalogue, observed, given, refused):
    node = NODE | {"observation": NODE["observation"] | {"host": {"secure_boot": observed}}, "secure_boot": given}
    if refused:
        with pytest.raises(DriverChoiceError, match="Secure Boot"):
            action.chosen(node, catalogue)
    else:
        assert action.chosen(node, catalogue)["choice"]["dkms"] is True


@pytest.mark.parametrize("variables", [{}, {"inventory_hostname": "x", "inventory_dir": "/nonexistent"}])
def test_a_host_that_no_fleet_declares_has_the_shipped_catalogue(variables):
    assert action.catalogue_of(variables).gpus.keys() == Catalogue.load().gpus.keys()


def test_what_a_node_says_of_its_bus_is_data(catalogue):
    odd = [{"address": "0000:01:00.0", "vendor": "10de", "device": "{{ 7 * 7 }}", "class": "030000"}, {"address": 3}]
    with pytest.raises(DriverChoiceError) as caught:
        action.chosen(NODE | {"observation": {"schema": 1, "pci": odd}}, catalogue)
    assert "an unread id" in caught.value.message
