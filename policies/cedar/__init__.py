"""Policies written in Cedar: checked when they are loaded, then asked about every call."""

from policies.cedar.engine import Engine, load
from policies.cedar.source import PolicyError

__all__ = ["Engine", "PolicyError", "load"]
