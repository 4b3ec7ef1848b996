"""The folder of a run: what was asked for, by which command, with which versions, on which data."""

from __future__ import annotations

CONFIG = "config.yaml"
