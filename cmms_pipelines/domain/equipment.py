"""Equipment masters: from a canonical frame and its context to rows that can be written.

What belongs here: duplicates, groups and plants of masters. What does not: the rules (`domain.contracts`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from cmms_pipelines.domain.classification import GroupRule, classify_all
from cmms_pipelines.domain.contracts import failures_of
from cmms_pipelines.domain.record_digests import Digests, Judgement, sealed
from cmms_pipelines.domain.rejections import refused_rows

COMPARED = ["plant_code", "company_code", "equipment_description", "object_number", "point", "is_active", "api_created_at"]


@dataclass(frozen=True)
class JudgedEquipment:
    """Records after judgement.

    Attributes:
        rows: plant_id, equipment_number, equipment_group (str or missing), company_code, equipment_description, object_number,
            point, attributes (dict), is_active, api_created_at: one row per machine, and
            record_digest of a machine's only record.
        failures: one row per record and failed rule.
        records_merged: accepted records that only repeat another one.
    """

    rows: pd.DataFrame
    failures: pd.DataFrame
    records_merged: int


def judge(
    frame: pd.DataFrame,
    plants: pd.DataFrame,
    rules: Sequence[GroupRule],
    digests: Digests | None = None,
    judgement: Judgement | None = None,
) -> JudgedEquipment:
    """Check a frame from `records.equipment_frame` and classify what is acceptable.

    Args:
        frame: one row per record.
        plants: plant_code, plant_id.
        rules: of the equipment groups, in their order.
        digests: of the records, and
        judgement: what seals them; without either no row gets one.
    """
    context = frame.assign(
        plant_id=frame["plant_code"].map(plants.drop_duplicates("plant_code").set_index("plant_code")["plant_id"]).astype("Int64")
    )
    is_repeat, context["is_superseded"] = _duplicates(context)
    failures = failures_of("equipment", context)
    is_alone = ~context["equipment_number"].duplicated(keep=False)
    context["record_digest"] = sealed(digests, judgement, context["plant_id"], is_alone, failures)
    accepted = context.drop(index=refused_rows(failures))
    rows = accepted.loc[~is_repeat.loc[accepted.index]]
    groups = pd.Series(classify_all(rows["attributes"], rules), index=rows.index, dtype="str")
    return JudgedEquipment(
        rows=rows.assign(equipment_group=groups).sort_values("equipment_number").reset_index(drop=True),
        failures=failures,
        records_merged=len(accepted) - len(rows),
    )


def _duplicates(context: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Tell records that repeat the newest one of their number from those that contradict it."""
    newest_first = context.sort_values("api_created_at", ascending=False, kind="stable", na_position="last")
    is_later = newest_first["equipment_number"].duplicated(keep="first") & newest_first["equipment_number"].notna()
    repeats: list[object] = []
    shared = newest_first.loc[newest_first["equipment_number"].isin(newest_first.loc[is_later, "equipment_number"])]
    for _, records in shared.groupby("equipment_number"):
        newest, *others = records[[*COMPARED, "attributes"]].to_dict("records")
        repeats += [row for row, other in zip(records.index[1:], others, strict=True) if repr(other) == repr(newest)]
    is_same = pd.Series(newest_first.index.isin(repeats), index=newest_first.index)
    return (is_later & is_same).reindex(context.index), (is_later & ~is_same).reindex(context.index)
