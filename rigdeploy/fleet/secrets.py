"""Secrets by reference: where a secret is, never what it is."""

from __future__ import annotations
