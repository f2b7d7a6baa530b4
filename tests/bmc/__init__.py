"""A BMC for tests: speaks IPMI 2.0 over RMCP+ as the specification has it, fails on request, and keeps a log."""

from tests.bmc.server import FakeBmc, FakeBmcs
from tests.bmc.state import ADMINISTRATOR, OPERATOR, USER, Faults, Sensor, State, User

__all__ = ["ADMINISTRATOR", "OPERATOR", "USER", "FakeBmc", "FakeBmcs", "Faults", "Sensor", "State", "User"]
