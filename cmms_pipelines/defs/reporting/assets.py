"""The dbt models as assets, their tests as asset checks.

What belongs here: how a dbt node looks in Dagster, and the one operation that builds them. What does not: the models
themselves (`dbt_models/`). Importing this takes dbt with it, some two seconds: only the code location of the reports does.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import orjson
from dagster_dbt import DagsterDbtTranslator, DbtProject, dbt_assets

from cmms_pipelines.defs.reporting.resources import Dbt

GROUP = "reporting"
OWNERS = ["team:data-engineering"]


class Translator(DagsterDbtTranslator):
    """Keys are `[schema, table]`, as those of the Python assets: so the sources meet the tables that the syncs write."""

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        """Return `[schema, table]` of a model or a source."""
        node = dbt_resource_props
        return dg.AssetKey([node["schema"], node.get("alias") or node.get("identifier") or node["name"]])

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:  # noqa: ARG002 - one group for all
        """Return the one group of the reports."""
        return GROUP

    def get_owners(self, dbt_resource_props: Mapping[str, Any]) -> list[str]:  # noqa: ARG002 - one owner for all
        """Return who is asked about a model."""
        return OWNERS

    def get_asset_spec(self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None) -> dg.AssetSpec:
        """Return the spec with the kind of relation (view or table) among its kinds."""
        spec = super().get_asset_spec(manifest, unique_id, project)
        relation = self.get_resource_props(manifest, unique_id).get("config", {}).get("materialized")
        return spec.replace_attributes(kinds={*spec.kinds, relation}) if relation else spec

    def get_asset_check_spec(
        self, asset_spec: dg.AssetSpec, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None
    ) -> dg.AssetCheckSpec | None:
        """Return the check with the description that the test has in its YAML."""
        spec = super().get_asset_check_spec(asset_spec, manifest, unique_id, project)
        return spec._replace(description=manifest["nodes"][unique_id]["description"]) if spec else None


def build_assets(manifest: Path) -> dg.AssetsDefinition:
    """Return every model of `manifest` as one operation that can build any subset."""

    @dbt_assets(manifest=orjson.loads(manifest.read_bytes()), dagster_dbt_translator=Translator(), name="dbt_models")
    def dbt_models(context: dg.AssetExecutionContext, dbt: Dbt) -> Iterator[Any]:
        yield from dbt.build(context)

    return dbt_models
