"""Find personal data in a payload. Spans only: what becomes of them is decided elsewhere."""

from policies.privacy.detectors import Detector
from policies.privacy.redaction import MASK, redact
from policies.privacy.scanner import Detected, categories, scan

__all__ = ["MASK", "Detected", "Detector", "categories", "redact", "scan"]
