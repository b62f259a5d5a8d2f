"""What training gives back, and what it takes."""

from __future__ import annotations
