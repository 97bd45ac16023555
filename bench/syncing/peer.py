"""dlt on the same rows: runs in an environment of its own, so it imports nothing of ours.

    python peer.py default|best|keyed equipment|readings URL_OF_SOURCE FIRST_DAY LAST_DAY FOLDER

`default` is dlt's `rest_api` source by page numbers with merge on the key, everything else as it comes. `best` is its best
honest configuration: an own fetch on several threads that keeps only the columns of the table and yields typed Arrow tables,
files cut so that several are loaded at once, the faster of its bulk loaders, and the merge that leaves rows alone that would not
change. None of them validates a record, and the tables that dlt makes have neither keys nor foreign keys. `keyed` is `best` into
tables made beforehand, outside of what is timed, that promise their readers what ours do: no machine twice, no machine's day
twice, no reading of an unknown machine.

PEER_DATABASE_URL and PEER_TOKEN come by the environment. The last line of the output is JSON: `start_s` from the start of the
process until dlt is loaded, `work_s` of the pipeline's run, and dlt's own steps.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

STARTED_AT = float(os.environ["BENCH_STARTED_AT"])
ENDPOINTS = {"equipment": "equipments", "readings": "equipments/jam-jalan"}
KEYS = {"equipment": ["EQUNR"], "readings": ["EQUNR", "DATE"]}
TABLES = {"equipment": "equipment", "readings": "equipment_running_times"}
TEXT = {
    "equipment": ("SWERK", "EQUNR", "BUKRS", "EQKTU", "OBJNR", "POINT"),
    "readings": ("SWERK", "EQUNR", "BUKRS", "EQKTU", "OBJNR", "POINT", "MDTXT"),
}
KEYED_TABLES = """
CREATE SCHEMA IF NOT EXISTS peer;
CREATE TABLE IF NOT EXISTS peer.equipment (
    swerk text, equnr text PRIMARY KEY, bukrs text, eqktu text, objnr text, point text);
CREATE TABLE IF NOT EXISTS peer.equipment_running_times (
    swerk text, equnr text REFERENCES peer.equipment, bukrs text, eqktu text, objnr text, point text, mdtxt text, date date,
    date_time timestamp, recdv double precision, cntrr double precision, created_at timestamptz, PRIMARY KEY (equnr, date));
"""
FORMAT = os.environ.get("PEER_FORMAT", "parquet")  # goes by ADBC; or csv
STRATEGY = os.environ.get("PEER_STRATEGY", "upsert")  # or delete-insert
BEST = {
    "EXTRACT__WORKERS": "4",
    "EXTRACT__MAX_PARALLEL_ITEMS": "8",
    "NORMALIZE__WORKERS": os.environ.get("PEER_NORMALIZE_WORKERS", "1"),
    "LOAD__WORKERS": "4",
    "DATA_WRITER__FILE_MAX_ITEMS": "250000",
    "DATA_WRITER__BUFFER_MAX_ITEMS": "50000",
    "DATA_WRITER__DISABLE_COMPRESSION": "true",
}
os.environ.update({"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "WARNING"})
if sys.argv[1] != "default":
    os.environ.update(BEST)

import dlt  # noqa: E402 - reads its configuration from the environment
import orjson  # noqa: E402
import psycopg2  # noqa: E402
import pyarrow as pa  # noqa: E402
import requests  # noqa: E402
from dlt.sources.helpers.rest_client.paginators import PageNumberPaginator  # noqa: E402
from dlt.sources.rest_api import rest_api_source  # noqa: E402


def default_source(what: str, url: str, days: dict[str, str]) -> Any:  # noqa: ANN401 - dlt's own
    """Return dlt's declarative source."""
    return rest_api_source({
        "client": {
            "base_url": f"{url}/pages/",
            "headers": {"Authorization": os.environ["PEER_TOKEN"]},
            "paginator": PageNumberPaginator(base_page=1, total_path="total_pages"),
        },
        "resources": [
            {
                "name": TABLES[what],
                "primary_key": KEYS[what],
                "write_disposition": "merge",
                "endpoint": {"path": ENDPOINTS[what], "params": days if what == "readings" else {}, "data_selector": "data"},
            }
        ],
    })  # fmt: skip


def best_source(what: str, url: str, days: dict[str, str]) -> Any:  # noqa: ANN401 - dlt's own
    """Return a resource with a fetch of its own that yields Arrow tables."""
    session = requests.Session()
    session.headers["Authorization"] = os.environ["PEER_TOKEN"]
    session.trust_env = False
    address = f"{url}/pages/{ENDPOINTS[what]}"
    schema = pa.schema(
        [(name, pa.string()) for name in TEXT[what]]
        + ([(name, pa.string()) for name in ("DATE", "DATE_TIME", "RECDV", "CNTRR", "CREATED_AT")] if what == "readings" else [])
    )

    def fetch(page: int) -> dict[str, Any]:
        reply = session.get(address, params=(days if what == "readings" else {}) | {"page": page}, timeout=300)
        reply.raise_for_status()
        body: dict[str, Any] = orjson.loads(reply.content)
        return body

    @dlt.defer
    def table(page: int) -> Any:  # noqa: ANN401 - dlt's own
        return _typed(pa.Table.from_pylist(fetch(page)["data"], schema=schema))

    disposition: dict[str, object] = {"disposition": "merge", "strategy": STRATEGY}
    disposition["skip_unchanged_rows" if STRATEGY == "upsert" else "deduplicated"] = True

    @dlt.resource(name=TABLES[what], primary_key=KEYS[what], write_disposition=disposition)
    def pages() -> Iterator[Any]:
        first = fetch(1)
        yield _typed(pa.Table.from_pylist(first["data"], schema=schema))
        for page in range(2, first["total_pages"] + 1):
            yield table(page)

    return pages()


def _typed(table: pa.Table) -> pa.Table:
    """Give texts that are dates and numbers their types, as a table would have them."""
    if "DATE" not in table.column_names:
        return table
    kinds = {
        "DATE": pa.date32(),
        "DATE_TIME": pa.timestamp("s"),
        "RECDV": pa.float64(),
        "CNTRR": pa.float64(),
        "CREATED_AT": pa.timestamp("us", "UTC"),
    }
    for name, kind in kinds.items():
        table = table.set_column(table.column_names.index(name), name, table[name].cast(kind))
    return table


def make_keyed_tables() -> None:
    """Make the tables before dlt would; it fills those that are there."""
    with psycopg2.connect(os.environ["PEER_DATABASE_URL"]) as connection, connection.cursor() as cursor:
        cursor.execute(KEYED_TABLES)


def main() -> None:
    """Run one pipeline and print what it took."""
    configuration, what, url, first, last, folder = sys.argv[1:]
    if configuration == "keyed":
        make_keyed_tables()
    days = {"start_date": first, "end_date": last}
    pipeline = dlt.pipeline(
        pipeline_name=f"bench_{configuration}",
        pipelines_dir=folder,
        destination=dlt.destinations.postgres(os.environ["PEER_DATABASE_URL"]),
        dataset_name="peer",
    )
    loaded_at = time.monotonic()
    if configuration != "default":
        pipeline.run(best_source(what, url, days), loader_file_format=FORMAT)
    else:
        pipeline.run(default_source(what, url, days))
    ended_at = time.monotonic()
    trace = pipeline.last_trace
    steps = {step.step: round((step.finished_at - step.started_at).total_seconds(), 3) for step in trace.steps}
    with pipeline.sql_client() as client:
        rows = client.execute_sql(f'SELECT count(*) FROM "{TABLES[what]}"')[0][0]  # noqa: S608 - names of our own
    print(json.dumps({
        "start_s": round(loaded_at - STARTED_AT, 3),
        "work_s": round(ended_at - loaded_at, 3),
        "seconds_by_stage": steps,
        "rows": rows,
        "dlt": dlt.__version__,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
