"""What the operator sees of requests: metrics, traces, and a line of JSON each. Nothing in it that a client wrote."""

from serve.telemetry.log import Log
from serve.telemetry.observed import UNMATCHED, Observed
from serve.telemetry.trace import Trace, trace_of, where

__all__ = ["UNMATCHED", "Log", "Observed", "Trace", "trace_of", "where"]
