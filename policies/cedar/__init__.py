"""Policies written in Cedar: checked when they are loaded, then asked about every call."""

from policies.cedar.engine import Engine, load, reloaded
from policies.cedar.packs import Pack, filled, schema
from policies.cedar.source import PolicyError

__all__ = ["Engine", "Pack", "PolicyError", "filled", "load", "reloaded", "schema"]
