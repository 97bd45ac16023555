"""What facts mean: from sync logs, counts and ages to findings with their severity, probable cause and first thing to do.

What belongs here: judgement and wording. What does not: reading the facts (`storage.alert_signs`, `storage.alert_days`,
`defs.operations.dagster_signs`), and what becomes of a finding (`domain.alerts`).
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cmms_pipelines.domain.alert_bands import Band
from cmms_pipelines.domain.alerts import Finding, Severity, Trigger, severity_of_share, severity_of_sync

EXTERNAL_API = str(Trigger.EXTERNAL_API)
DATABASE = str(Trigger.DATABASE)
DAEMON = str(Trigger.DAEMON)
_UNREACHABLE = frozenset({408, 429, 500, 502, 503, 504})
_SHOWN = 8


@dataclass(frozen=True)
class SyncFacts:
    """A finished sync, as its log has it, and its last request to the source: whether there was one, and how it ended."""

    id: int
    sync_type: str
    status: str
    scope: Mapping[str, Any]
    processed: int
    failed: int
    warned: int
    error_message: str | None
    started_at: dt.datetime
    completed_at: dt.datetime
    run_id: str | None
    has_api_call: bool = False
    has_api_error: bool = False
    api_status: int | None = None

    @property
    def severity(self) -> Severity:
        """Return how grave its end is."""
        return severity_of_sync(
            self.status, processed=self.processed, failed=self.failed, warned=self.warned, has_error=bool(self.error_message)
        )

    @property
    def is_unreachable(self) -> bool:
        """Tell whether it ended at a source that did not answer, or not usefully."""
        is_away = self.api_status is None or self.api_status in _UNREACHABLE
        return self.has_api_error and is_away and bool(self.error_message)

    @property
    def is_failure(self) -> bool:
        """Tell whether it, or a part of it, did not come about at all."""
        return bool(self.error_message) or self.status == "failed"


def outstanding(syncs: Sequence[SyncFacts]) -> list[SyncFacts]:
    """Return the syncs that no later one of their type has made good: the newest word on each scope.

    Args:
        syncs: finished ones, the newest first.
    """
    left: list[SyncFacts] = []
    for sync in syncs:
        if not any(later.sync_type == sync.sync_type and _covers(later.scope, sync.scope) for later in left):
            left.append(sync)
    return left


def sync_findings(syncs: Sequence[SyncFacts], consecutive_failures: int) -> list[Finding]:
    """Return one finding for each type of sync whose state is not simply good, and one for a source that does not answer.

    Args:
        syncs: finished ones whose retries are over, the newest first.
        consecutive_failures: from so many in a row on they are critical, whatever each was.
    """
    findings = []
    current = outstanding(syncs)
    for sync_type in sorted({sync.sync_type for sync in current}):
        worst = max((sync for sync in current if sync.sync_type == sync_type), key=lambda sync: (sync.severity.rank, sync.id))
        if worst.severity is Severity.INFO:
            continue
        row = _failures_in_a_row([sync for sync in syncs if sync.sync_type == sync_type])
        findings.append(_sync_finding(worst, row, is_chronic=len(row) >= consecutive_failures))
    newest_asked = next((sync for sync in syncs if sync.has_api_call), None)
    if newest_asked is not None and newest_asked.is_unreachable:
        findings.append(_api_finding(newest_asked, [sync for sync in current if sync.is_unreachable]))
    return findings


def inbox_finding(due: int, oldest_due_at: dt.datetime | None, now: dt.datetime, limit_s: int, drain: str) -> Finding | None:
    """Return what is wrong where events that could be applied wait for longer than `limit_s`."""
    if oldest_due_at is None or (now - oldest_due_at).total_seconds() <= limit_s:
        return None
    if drain == "absent":
        cause = "nothing drains the inbox: the daemon is down, its sensor is off, or no run can start. See Deployment, Daemons."
    else:
        cause = "a drain is at work and does not get on: the database is slow, or each event of a batch fails. See its run."
    return Finding(
        Trigger.INBOX,
        "",
        Severity.HIGH,
        "Maintenance events are not being processed",
        f"{due} events could be applied and wait; the oldest has waited for {_age(now - oldest_due_at)}.",
        cause,
        since=oldest_due_at,
        figures={"events_due": due, "oldest_due_s": int((now - oldest_due_at).total_seconds())},
        explained_by=(DAEMON, "tick:maintenance_inbox_sensor"),
    )


def dead_letter_finding(
    count: int, oldest_at: dt.datetime | None, causes: Sequence[str], *, recent_dead: int, recent: int
) -> Finding:
    """Return what is wrong where events could not be applied; of the last day's, more than a tenth is high."""
    share = severity_of_share(recent, recent_dead)
    severity = Severity.HIGH if share.rank >= Severity.HIGH.rank else Severity.MEDIUM
    return Finding(
        Trigger.DEAD_LETTERS,
        "",
        severity,
        f"{count} maintenance events could not be applied",
        "They lie in the dead-letter box until somebody puts them back. Last said: " + "; ".join(causes[:3]),
        "an event that breaks a rule of ours, or a defect of its sender. `cmms events list --status dead_letter`, mend it, then "
        "`cmms events replay`.",
        since=oldest_at,
        figures={"dead_letters": count, "of_the_last_day": recent_dead, "events_of_the_last_day": recent},
    )


def conflict_finding(count: int, oldest_at: dt.datetime | None, age_h: int) -> Finding | None:
    """Return what is wrong where conflicts have been undecided for more than `age_h` hours."""
    if count == 0:
        return None
    return Finding(
        Trigger.CONFLICTS,
        "",
        Severity.MEDIUM,
        f"{count} conflicts have been undecided for more than {age_h} h",
        "Both sides changed the same field; ours stays in force until somebody decides.",
        "nobody has looked. `cmms conflicts list` shows both values, `cmms conflicts resolve` decides.",
        since=oldest_at,
        figures={"conflicts": count},
    )


def missing_day_findings(
    missing: Mapping[str, Sequence[dt.date]], *, plants: int, named_one_by_one: int, paused: str | None
) -> list[Finding]:
    """Return one finding for each plant that lacks days, or a single one where more than `named_one_by_one` do.

    Args:
        missing: by plant, the days that are due and not there.
        plants: how many plants there are.
        named_one_by_one: more plants than this have one cause.
        paused: who paused all syncs, if they are paused.
    """
    cause = (
        f"all syncs are paused {paused}. `cmms sync resume`, then sync the days."
        if paused
        else "the nightly sync did not run, failed, or the source had nothing. Look at the sync log, then "
        "`cmms sync running-times --date ... --plant ...`."
    )
    explained_by = ("sync:running_times", EXTERNAL_API, DAEMON)
    if len(missing) > named_one_by_one:
        days = sorted({day for of_plant in missing.values() for day in of_plant})
        shown = ", ".join(sorted(missing)[:_SHOWN]) + (" and others" if len(missing) > _SHOWN else "")
        return [
            Finding(
                Trigger.MISSING_DAY,
                "",
                Severity.HIGH,
                f"{len(missing)} of {plants} plants lack running hours of {_days(days)}",
                f"Plants: {shown}.",
                cause,
                figures={"plants": len(missing), "days": len(days)},
                explained_by=explained_by,
            )
        ]
    return [
        Finding(
            Trigger.MISSING_DAY,
            plant,
            Severity.HIGH,
            f"Plant {plant} lacks running hours of {_days(days)}",
            f"{len(days)} days that are due are not there.",
            cause,
            figures={"days": len(days)},
            explained_by=(*explained_by, str(Trigger.MISSING_DAY)),
        )
        for plant, days in sorted(missing.items())
    ]


def rejection_finding(plant: str, day: dt.date, band: Band, *, refused: int, stored: int, rules: Sequence[str]) -> Finding:
    """Return what is wrong where a plant has more refusals on a day than is usual for that weekday."""
    share = severity_of_share(refused + stored, refused)
    return Finding(
        Trigger.REJECTIONS,
        plant,
        min(share, Severity.HIGH, key=lambda severity: severity.rank),  # critical is a whole sync, not a plant
        f"Plant {plant}: {refused} records of {day} were refused, usual are {band.centre:g}",
        f"On this weekday between {band.low:g} and {band.high:g} are usual (median of {band.days} weeks +- 3 x 1.4826 x MAD). "
        f"Most of them: {', '.join(rules)}.",
        "a change at the source or in master data: a new plant or machine, another format, a counter that was swapped. "
        f"`cmms rejections list --plant {plant} --date {day}`.",
        figures={"refused": refused, "stored": stored, "usual_at_most": round(band.high, 1)},
    )


def database_finding(since: dt.datetime, now: dt.datetime, where: str, reason: str, *, subject: str = "") -> Finding:
    """Return that a database cannot be reached: ours, or the one that `subject` names."""
    return Finding(
        Trigger.DATABASE,
        subject,
        Severity.CRITICAL,
        f"The database {where} cannot be reached",
        f"For {_age(now - since)} nothing can be read or written: syncs and events wait, the receiver answers 503. {reason}",
        "the server is down, restarting, out of connections or out of disk. Its log says why.",
        since=since,
    )


def _sync_finding(sync: SyncFacts, failures: Sequence[SyncFacts], *, is_chronic: bool) -> Finding:
    what = sync.sync_type.replace("_", " ")
    severity = Severity.CRITICAL if is_chronic else sync.severity
    share = 100 * sync.failed / sync.processed if sync.processed else 0.0
    if sync.severity is Severity.CRITICAL:
        title = f"The sync of {what} failed completely"
    elif sync.is_failure:
        title = f"The sync of {what} failed in part"
    elif sync.failed:
        title = f"The sync of {what} refused {share:.1f} % of its records"
    else:
        title = f"The sync of {what} stored {sync.warned} records with warnings"
    if is_chronic:
        title += f", {len(failures)} times in a row"
    detail = (
        f"Sync {sync.id} ({_scope(sync.scope)}): {sync.processed} records, {sync.failed} refused, {sync.warned} with warnings."
    )
    if sync.is_failure:
        cause = sync.error_message or "see the run"
    elif sync.failed:
        cause = "records that break rules; the quarantine has each with its rule and what to do: `cmms rejections list`."
    else:
        cause = "values that are odd and were stored: the run's metadata lists them by rule."
    return Finding(
        Trigger.SYNC,
        sync.sync_type,
        severity,
        title,
        detail,
        cause,
        since=(failures[-1] if failures else sync).started_at,
        figures={"records": sync.processed, "refused": sync.failed, "refused_percent": round(share, 2)},
        run_id=sync.run_id,
        explained_by=(EXTERNAL_API,) if sync.is_unreachable else (),
    )


def _api_finding(newest: SyncFacts, syncs: Sequence[SyncFacts]) -> Finding:
    kinds = ", ".join(sorted({sync.sync_type.replace("_", " ") for sync in syncs}))
    said = "does not answer" if newest.api_status is None else f"answers {newest.api_status}"
    return Finding(
        Trigger.EXTERNAL_API,
        "",
        Severity.CRITICAL,
        f"The external API {said}",
        f"Syncs that failed for it: {kinds}. The last one said: {newest.error_message}",
        "the source is down, overloaded or unreachable from here. `cmms api check` tests the connection step by step.",
        since=min(sync.started_at for sync in (newest, *syncs)),
        figures={"syncs_failed": len(syncs)},
        run_id=newest.run_id,
        explained_by=(DATABASE,),
    )


def _failures_in_a_row(syncs: Sequence[SyncFacts]) -> list[SyncFacts]:
    """Return the newest failures of one type up to the last sync that was none; attempts of one run count once."""
    row: list[SyncFacts] = []
    for sync in syncs:
        if not sync.is_failure:
            break
        if not row or sync.run_id is None or sync.run_id != row[-1].run_id:
            row.append(sync)
    return row


def _covers(later: Mapping[str, Any], earlier: Mapping[str, Any]) -> bool:
    """Tell whether a later scope takes in what an earlier one was about.

    Of days, the nights go on from one another: a range counts that touches the earlier one and reaches as far at least. A day
    that is left out all the same is for `missing_day`.
    """
    return (
        _takes_in(later.get("plants", "all"), earlier.get("plants", "all"))
        and _takes_in(later.get("equipment", "all"), earlier.get("equipment", "all"))
        and _reaches(later, earlier)
    )


def _takes_in(later: str | Sequence[str], earlier: str | Sequence[str]) -> bool:
    if isinstance(later, str) or isinstance(earlier, str):
        return later == "all"
    return set(earlier) <= set(later)


def _reaches(later: Mapping[str, Any], earlier: Mapping[str, Any]) -> bool:
    if "to" not in later or "to" not in earlier:
        return True
    first, last = dt.date.fromisoformat(later["from"]), dt.date.fromisoformat(later["to"])
    end = dt.date.fromisoformat(earlier["to"])
    return last >= end and first <= end + dt.timedelta(days=1)


def _scope(scope: Mapping[str, Any]) -> str:
    parts = []
    if "to" in scope:
        parts.append(scope["from"] if scope["from"] == scope["to"] else f"{scope['from']} to {scope['to']}")
    plants = scope.get("plants", "all")
    parts.append(
        "all plants" if plants == "all" else ", ".join(plants[:_SHOWN]) + (" and others" if len(plants) > _SHOWN else "")
    )
    return "; ".join(parts)


def _days(days: Sequence[dt.date]) -> str:
    return ", ".join(str(day) for day in sorted(days)[:_SHOWN])


def _age(span: dt.timedelta) -> str:
    seconds = int(span.total_seconds())
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"
