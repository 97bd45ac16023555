"""A site's own names for the fields of its source: looked at before the names that are built in.

What belongs here: the model, and what makes it valid. What does not: the built-in names (`domain.records`,
`domain.odata_records`, `domain.work_order_records`) and what is done with them (`domain.dialects`).
"""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

SourceField = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[A-Za-z_][A-Za-z0-9_./-]*$")]
Names = Annotated[tuple[SourceField, ...], Field(min_length=1, max_length=10)]
Columns = Annotated[dict[str, Names], Field(max_length=50)]


class RecordFields(BaseModel):
    """By kind of record and column of ours: the source's fields, the first one that a record has wins."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    plants: Columns = Field(default_factory=dict, description="columns of plants, such as plant_code")
    equipment: Columns = Field(
        default_factory=dict, description="columns of masters; not for OData, which is asked field by field"
    )
    running_times: Columns = Field(default_factory=dict, description="columns of readings, such as running_hours")
    work_orders: Columns = Field(default_factory=dict, description="columns of work orders, such as status")


class FieldNames(BaseModel):
    """The same for each dialect."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ims: RecordFields = RecordFields()
    odata_v2: RecordFields = RecordFields()
    odata_v4: RecordFields = RecordFields()

    def of(self, dialect: str) -> RecordFields:
        """Return the names of a dialect; none for one that is not known."""
        found = getattr(self, dialect, None)
        return found if isinstance(found, RecordFields) else RecordFields()

    @model_validator(mode="after")
    def _names_columns(self) -> Self:
        for dialect, records in self:
            given: dict[str, Mapping[str, Names]] = {kind: columns for kind, columns in records if columns}
            if not given:
                continue
            from cmms_pipelines.domain.dialects import dialect_of  # noqa: PLC0415 - loads pandas: only where a name is given

            spoken = dialect_of(dialect)
            built_in = {
                "plants": spoken.plant_mapping,
                "equipment": spoken.equipment_mapping,
                "running_times": spoken.running_time_mapping,
                "work_orders": spoken.work_order_mapping,
            }
            if dialect != "ims" and "equipment" in given:
                raise ValueError(f"{dialect}.equipment: an OData source is asked for its masters field by field; map them there")
            for kind, columns in given.items():
                for column in columns:
                    if column not in built_in[kind]:
                        near = get_close_matches(column, built_in[kind], n=1)
                        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(built_in[kind])}"
                        raise ValueError(f"{dialect}.{kind}.{column}: there is no such column; {hint}")
        return self
