"""Slow tests use the labs of ``tests/lab``."""

from tests.lab.conftest import make_fleet

__all__ = ["make_fleet"]
