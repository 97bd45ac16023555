"""The UI for viewers shows what the other one shows and changes nothing; and nobody listens to other machines."""

import re
from ipaddress import IPv6Address, ip_address
from typing import Any

import httpx
import psutil

from cmms_pipelines.operate import processes
from cmms_pipelines.operate.dagster_api import DagsterApi
from cmms_pipelines.storage import embedded
from tests.demo.conftest import TwoStarts

_LAUNCH = """
mutation Launch($params: ExecutionParams!) { launchRun(executionParams: $params) { __typename
  ... on UnauthorizedError { message } } }
"""
_REPOSITORY = 'repositoryName: "__repository__", repositoryLocationName: "cmms"'
_SENSOR = f'sensorSelector: {{{_REPOSITORY}, sensorName: "maintenance_inbox_sensor"}}'
_CHANGES = (
    f"resetSensor({_SENSOR})",
    f"startSensor({_SENSOR})",
    'launchPartitionBackfill(backfillParams: {assetSelection: [{path: ["cmms", "plants"]}]})',
    f'addDynamicPartition(repositorySelector: {{{_REPOSITORY}}}, partitionsDefName: "plants", partitionKey: "X")',
    'deleteRun(runId: "x")',
    "wipeAssets(assetPartitionRanges: [])",
    'reloadRepositoryLocation(repositoryLocationName: "cmms")',
)


def ask(address: str, query: str, **variables: object) -> str:
    reply = httpx.post(f"{address}/graphql", json={"query": query, "variables": variables}, timeout=30)
    assert reply.status_code == 200
    return reply.text


def test_the_ui_for_viewers_shows_pages_and_runs_and_refuses_to_launch(demo: TwoStarts) -> None:
    addresses = demo.second["addresses"]
    viewer, full = addresses["viewer"], addresses["dagster"]
    page = httpx.get(f"{viewer}/runs")
    assert (page.status_code, "Dagster" in page.text) == (200, True)
    [script] = re.findall(r'src="(/_next/[^"]*/main[^"]*\.js)"', page.text)
    assert httpx.get(viewer + script).is_success
    with DagsterApi(viewer) as read_only, DagsterApi(full) as api:
        runs = api.runs(limit=3, tags=[{"key": "cmms/started_by", "value": "demo"}])
        assert [run.run_id for run in read_only.runs(limit=3, tags=[{"key": "cmms/started_by", "value": "demo"}])] == [
            run.run_id for run in runs
        ]
        assert len(runs) == 3
        before = {run.run_id for run in api.runs(limit=5, tags=[{"key": "cmms/test", "value": "viewer"}])}
        selector = {"repositoryLocationName": "cmms", "repositoryName": "__repository__", "jobName": "sync_plants"}
        tags = [{"key": "cmms/test", "value": "viewer"}]
        params = {"selector": selector, "runConfigData": {}, "executionMetadata": {"tags": tags}}
        assert "UnauthorizedError" in ask(viewer, _LAUNCH, params=params)
        for change in _CHANGES:
            assert "UnauthorizedError" in ask(viewer, f"mutation {{ {change} {{ __typename }} }}"), change
        for kind in ("materialization", "observation", "check"):
            reported = httpx.post(f"{viewer}/report_asset_{kind}/cmms/plants", json={"check_name": "x", "passed": True})
            assert reported.status_code == 401, kind
        assert {run.run_id for run in api.runs(limit=5, tags=tags)} == before == set()


def test_every_service_listens_on_the_loopback_alone(demo: TwoStarts) -> None:
    found = processes.marked(processes.Mark(demo.home))
    heard = {(connection.laddr.ip, connection.laddr.port) for process in found for connection in _listening(process)}
    addresses = demo.second["addresses"]
    ours = {httpx.URL(addresses[name]).port for name in ("dagster", "viewer", "webhook", "emulator")}
    assert ours <= {port for _, port in heard}
    assert [address for address, _ in heard if not _is_loopback(address)] == []
    server = embedded.find_running(demo.home)
    assert server is not None
    on_all = [
        one.laddr for one in psutil.net_connections("tcp") if one.status == psutil.CONN_LISTEN and one.laddr.port == server.port
    ]
    assert {address.ip for address in on_all} == {"127.0.0.1"}


def _listening(process: psutil.Process) -> list[Any]:
    return [connection for connection in process.net_connections("tcp") if connection.status == psutil.CONN_LISTEN]


def _is_loopback(address: str) -> bool:
    found = ip_address(address)
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return (mapped or found).is_loopback
