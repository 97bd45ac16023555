"""What the configuration centre's endpoints take and answer."""

import datetime as dt
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field


class CentreKind(BaseModel):
    """A kind of configuration."""

    kind: str
    about: str
    is_per_system: bool = Field(description="it stands for each system; else once, under the system `cmms`")
    systems: list[str] = Field(description="for which something is stored")


class CentreKinds(BaseModel):
    """All kinds."""

    kinds: list[CentreKind]


class CentreValue(BaseModel):
    """A value in force, and where it comes from."""

    value: Any
    source: str = Field(description="`environment (VARIABLE)`, `stored version N` or `default`")


class CentreConfiguration(BaseModel):
    """A configuration as it is in force, without any secret."""

    kind: str
    cmms_system_id: str
    version: int = Field(description="the newest stored one, for If-Match of the next change; 0: nothing is stored")
    version_in_force: int = Field(description="another one where the newest is not usable or switched off")
    is_active: bool
    values: dict[str, CentreValue]
    problem: str | None = Field(description="why the newest version is not usable")


class CentreDocument(BaseModel):
    """A configuration as it shall be."""

    model_config = ConfigDict(extra="forbid")

    configuration: dict[str, Any] = Field(description="the whole document; what it leaves out is as by default")
    is_active: bool | None = Field(default=None, description="false: as if nothing were stored; left out: as it is")


class CentreJudgement(BaseModel):
    """Whether a document can be stored."""

    is_usable: bool
    problems: list[str] = Field(description="one sentence for each field that does not fit")


class CentreVersion(BaseModel):
    """One version."""

    version: int
    configuration: dict[str, Any]
    is_active: bool
    changed_by: str
    changed_at: dt.datetime


class CentreHistory(BaseModel):
    """All versions, the newest first."""

    versions: list[CentreVersion]


class CentreDifference(BaseModel):
    """A value that two versions do not share; null where one does not have it."""

    key: str
    before: Any
    after: Any


class CentreDifferences(BaseModel):
    """What two versions differ in."""

    differences: list[CentreDifference]


class CentreRollback(BaseModel):
    """Which version's content becomes the newest version."""

    model_config = ConfigDict(extra="forbid")

    to_version: Annotated[int, Field(ge=0, description="0: the defaults")]
