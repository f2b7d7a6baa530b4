"""The texts of a small fleet that is right, to be broken one way at a time."""

from __future__ import annotations

from collections.abc import Callable

from rigdeploy.workspace import Workspace

FLEET = """\
plugin: rigdeploy
rigs:
  rig01:
    address: 192.0.2.11
    build: pro-4x3090
    power:
      driver: ipmi
      address: 192.0.2.111
      username: admin
      password: {env: RIG01_BMC_PASSWORD}
    gpu_stack:
      driver: "580"
      mirror: {url: "https://mirror.example.com/nvidia", key: nvidia.asc}
  rig02:
    address: 192.0.2.12
    build: mine
    power: {driver: manual}
"""

BUILD = """\
board: msi-mpg-x670e-carbon-wifi
cpu: {model: AMD Ryzen 9 7900X, cores: 12, watts: 170}
memory: {size_gib: 96, channels: 2}
psu_watts: 1600
slots:
  PCI_E1: {gpu: rtx-4090, link: 4.0 x8}
  PCI_E2:
    gpu: rtx-4090
    link: 4.0 x8
vram_gib: 48
"""

MakeFleet = Callable[..., Workspace]
"""The fixture ``make_fleet``."""
