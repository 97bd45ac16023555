"""What a sync did, as numbers that must add up."""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum


class SyncStatus(StrEnum):
    """How a sync ended; `partial` means that some slices or records did not make it."""

    RUNNING = "running"
    SUCCESS = "success"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass
class SyncCounts:
    """Records of one slice or one sync, and the seconds it spent in each stage.

    Attributes:
        received: records that the source sent; always inserted + updated + unchanged + merged + refused.
        merged: records that became part of another record's row.
        warned: stored records with at least one warning.
        refused_by_rule: refused records by the first rule that each failed.
        noted_by_rule: stored records by each rule of severity warning or info that they met.
        stage_seconds: fetch, parse, neighbours, validate, quarantine, copy, merge; they overlap, and are summed over slices.
    """

    received: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    merged: int = 0
    refused: int = 0
    warned: int = 0
    refused_by_rule: Counter[str] = field(default_factory=Counter)
    noted_by_rule: Counter[str] = field(default_factory=Counter)
    stage_seconds: dict[str, float] = field(default_factory=dict)

    @property
    def stored(self) -> int:
        """Records whose content is in the table now, whoever wrote it."""
        return self.inserted + self.updated + self.unchanged + self.merged

    def add(self, other: "SyncCounts") -> None:
        """Add another slice's figures to these."""
        for name in ("received", "inserted", "updated", "unchanged", "merged", "refused", "warned"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.refused_by_rule.update(other.refused_by_rule)
        self.noted_by_rule.update(other.noted_by_rule)
        for stage, seconds in other.stage_seconds.items():
            self.spend(stage, seconds)

    def spend(self, stage: str, seconds: float) -> None:
        """Add time to a stage."""
        self.stage_seconds[stage] = self.stage_seconds.get(stage, 0.0) + seconds

    def check(self) -> None:
        """Hold the books to account.

        Raises:
            ArithmeticError: a record is unaccounted for, which is a defect of ours, never of the data.
        """
        if self.received != self.stored + self.refused:
            raise ArithmeticError(f"received {self.received} records, but stored {self.stored} and refused {self.refused}")
        if self.refused != sum(self.refused_by_rule.values()):
            raise ArithmeticError(
                f"refused {self.refused} records, but their rules add up to {sum(self.refused_by_rule.values())}"
            )
