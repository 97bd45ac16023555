"""`cmms maintenance rules`, and the job that does the same from the UI."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.conftest import Database
from tests.defs.test_inbox import execute
from tests.management.test_maintenance_rules import WORLD
from tests.test_cli_conflicts import Cmms

RULES = ("maintenance", "rules")
CSV = """name,equipment_group,equipment_number,interval_hours,interval_days,tolerance_hours
oil,pumps,,250,,10
belt,,4711,,30,
"""


@pytest.fixture
def cmms(database: Database, tmp_path: Path) -> Cmms:
    with database.engine.begin() as connection:
        for statement in WORLD:
            connection.execute(sa.text(statement))
    return Cmms(database, tmp_path)


def test_rules_are_set_listed_replaced_and_removed(cmms: Cmms) -> None:
    set_oil = (*RULES, "set", "oil", "--group", "pumps", "--hours")
    assert cmms.json(*set_oil, "250")["change"] == "created"
    assert cmms.json(*set_oil, "250")["change"] == "unchanged"
    changed = cmms.json(*set_oil, "300", "--fixed", "--tolerance-hours", "20")
    assert (changed["change"], changed["version"], changed["scheduling"]) == ("changed", 2, "fixed")
    [row] = cmms.json(*RULES, "list", "--group", "pumps")
    assert (row["interval_hours"], row["tolerance_hours"]) == (300.0, 20.0)
    assert "pumps" in cmms(*RULES, "list").stdout
    refused = cmms(*RULES, "remove", str(row["id"]), "--version", "1")
    assert (refused.exit_code, "at version 2" in str(refused.exception)) == (1, True)
    assert cmms.json(*RULES, "remove", str(row["id"]), "--version", "2")["change"] == "removed"
    assert cmms.json(*RULES, "list") == []


def test_a_file_is_imported_whole_or_not_at_all(cmms: Cmms, tmp_path: Path) -> None:
    table, document = tmp_path / "rules.csv", tmp_path / "rules.json"
    table.write_text(CSV)
    assert [row["change"] for row in cmms.json(*RULES, "import", str(table), "--dry-run")] == ["created", "created"]
    assert cmms.json(*RULES, "list") == []
    assert [row["change"] for row in cmms.json(*RULES, "import", str(table))] == ["created", "created"]
    document.write_text('[{"name": "oil", "equipment_group": "pumps", "interval_hours": 200, "tolerance_hours": 10}]')
    assert [row["change"] for row in cmms.json(*RULES, "import", str(document))] == ["changed"]
    table.write_text(CSV + "grease,nobody,,10,,\n")
    refused = cmms(*RULES, "import", str(table))
    assert (refused.exit_code, "no group 'nobody'" in str(refused.exception)) == (1, True)
    assert {row["name"]: row["interval_hours"] for row in cmms.json(*RULES, "list")} == {"belt": None, "oil": 200.0}


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.json", "{}", "must be a JSON array"),
        ("a.json", "[", "is not JSON"),
        ("a.csv", "name,equipment_group\noil,pumps,3\n", "more or fewer values"),
        ("a.csv", "name,equipment_group\noil,pumps\n", "Rule 1 is not usable"),
    ],
)
def test_a_file_that_is_none_is_refused_in_a_sentence(cmms: Cmms, tmp_path: Path, name: str, content: str, says: str) -> None:
    file = tmp_path / name
    file.write_text(content)
    refused = cmms(*RULES, "import", str(file))
    assert (refused.exit_code, says in str(refused.exception)) == (1, True)


def test_the_job_sets_a_rule_with_who_did_it_and_shows_all(cmms: Cmms, database: Database) -> None:
    config = {"name": "oil", "equipment_group": "pumps", "interval_hours": 250.5, "by": "Ada"}
    assert execute(database, "set_maintenance_rule", {"ops": {"set_rule": {"config": config}}}).success
    assert cmms.json(*RULES, "list")[0]["interval_hours"] == 250.5
    with database.engine.connect() as connection:
        audited = connection.scalar(sa.text("SELECT actor FROM cmms.audit_log WHERE action = 'maintenance_rule.created'"))
    assert audited == "Ada"
    refused = execute(database, "set_maintenance_rule", {"ops": {"set_rule": {"config": {**config, "interval_hours": 0.0}}}})
    assert not refused.success
