"""Machines change by the newest statement of each field, and are never deleted."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from cmms_pipelines.domain.assets import apply_asset
from cmms_pipelines.domain.event_payloads import AssetPayload
from cmms_pipelines.domain.registers import Registers

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
Asset = tuple[str, dict[str, object], int]


def state(*events: Asset) -> Registers:
    registers = None
    for kind, fields, minutes in events:
        payload = AssetPayload.model_validate({"equipment_number": "N526JB", **fields})
        registers = apply_asset(registers, kind, payload, NOON + timedelta(minutes=minutes)).registers
    assert registers is not None
    return registers


def test_a_deleted_machine_is_inactive_until_it_is_created_again() -> None:
    deleted: Asset = ("asset_deleted", {}, 5)
    assert state(("asset_created", {}, 0), deleted).values["is_active"] is False
    assert state(deleted, ("asset_created", {}, 0)).values["is_active"] is False
    assert state(deleted, ("asset_created", {}, 9)).values["is_active"] is True


def test_an_update_that_does_not_say_so_leaves_a_deleted_machine_deleted() -> None:
    assert state(("asset_deleted", {}, 5), ("asset_updated", {"name": "A320"}, 9)).values["is_active"] is False


def test_each_attribute_is_a_field_of_its_own() -> None:
    values = state(
        ("asset_updated", {"attributes": {"HERST": "AIRBUS", "BAUJJ": "2005"}}, 5),
        ("asset_updated", {"attributes": {"BAUJJ": "2004"}}, 1),
    ).values
    assert values == {"attributes.HERST": "AIRBUS", "attributes.BAUJJ": "2005"}


ASSETS = st.lists(
    st.tuples(
        st.sampled_from(["asset_created", "asset_updated", "asset_deleted"]),
        st.fixed_dictionaries(
            {},
            optional={
                "name": st.sampled_from(["a", "b", None]),
                "is_active": st.booleans(),
                "attributes": st.dictionaries(st.sampled_from("xy"), st.integers(0, 2)),
            },
        ),
        st.integers(0, 2),
    ),
    min_size=1,
    max_size=6,
)


@given(st.data(), ASSETS)
def test_any_interleaving_ends_in_the_same_state(data: st.DataObject, events: list[Asset]) -> None:
    shuffled = data.draw(st.permutations([*events, *data.draw(st.lists(st.sampled_from(events), max_size=3))]))
    assert state(*events) == state(*shuffled)
