"""What a comparison of two stores found: named differences, bounded in number, never values."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import structlog
from prometheus_client import Gauge

log = structlog.get_logger()
MAX_FINDINGS = 100
"""Differences kept of one part; all are counted."""

FINDINGS = Gauge(
    "aiguillage_reconciliation_findings", "Differences that the last comparison found", ["part"]
)
COMPARED_AT = Gauge(
    "aiguillage_reconciliation_time_seconds", "When a comparison last came to its end", ["part"]
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference: its kind, which row or event it is about, and what is wrong."""

    kind: str
    what: str
    detail: str


@dataclass
class Report:
    """What one comparison found; ``part`` says what was compared.

    ``in_flight``: not there yet, and rightly so; ``erased``: without their sealed part.
    """

    part: str
    compared: int = 0
    in_flight: int = 0
    erased: int = 0
    count: int = 0
    findings: list[Finding] = field(default_factory=list)

    def add(self, kind: str, what: str, detail: str) -> None:
        """Another difference."""
        self.count += 1
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(kind, what, detail))

    def document(self) -> dict[str, Any]:
        """For programs."""
        return {
            "part": self.part,
            "compared": self.compared,
            "in_flight": self.in_flight,
            "erased": self.erased,
            "differences": self.count,
            "findings": [
                {"kind": f.kind, "what": f.what, "detail": f.detail} for f in self.findings
            ],
        }

    def lines(self) -> list[str]:
        """For people."""
        notes = [f"{self.compared} compared"]
        notes += [f"{self.in_flight} on their way"] if self.in_flight else []
        notes += [f"{self.erased} erased"] if self.erased else []
        notes.append(f"{self.count} differences" if self.count else "they agree")
        head = f"  {'✗' if self.count else '✓'} {self.part}: {', '.join(notes)}"
        more = self.count - len(self.findings)
        shown = [f"      {f.kind}: {f.what}: {f.detail}" for f in self.findings]
        return [head, *shown, *([f"      … and {more} more"] if more else [])]


def announce(reports: Iterable[Report]) -> None:
    """Tell whoever watches: metrics, and an alarm in the log for each part that differs."""
    for report in reports:
        FINDINGS.labels(report.part).set(report.count)
        COMPARED_AT.labels(report.part).set(time.time())
        if report.count:
            first = report.findings[0]
            log.error(
                "reconciliation found differences", part=report.part, count=report.count,
                kind=first.kind, what=first.what, detail=first.detail,
            )  # fmt: skip
        else:
            log.info("reconciled", part=report.part, compared=report.compared)
