"""Adapters of published data sets: one file each, and one line here."""

from __future__ import annotations

from training.datasets.published.interface import PublishedDataset
from training.datasets.published.tag import TouchAndGo

DATASETS: dict[str, PublishedDataset] = {adapter.name: adapter for adapter in (
    TouchAndGo(),
)}
