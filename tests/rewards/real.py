"""Where the real sets lie, and the bars that every verifier is held to on them."""

from __future__ import annotations

from pathlib import Path

DATA = Path(__file__).parents[2].parent / "shared" / "data"
"""Beside the checkout; no part of the repository."""
LEAST_ACCEPTED, MOST_PAID = 0.995, 0.001
"""Shares of gold answers in the phrasings of models, and of wrong answers."""
