"""A record's digest is that of its characters, on each machine and in each process the same."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from cmms_pipelines.domain.record_digests import digests_of

RECORD = b'{"EQUNR":"000000000010000042","CNTRR":"12.5000"}'


def test_digests_are_those_that_are_stored_already() -> None:
    of_nothing = 0x2D06800538D394C2  # as the authors of XXH3 publish it
    assert digests_of([msgspec.Raw(b""), msgspec.Raw(RECORD)]).view("uint64").tolist() == [of_nothing, 0xA9E0CA464B6E72ED]


@given(st.lists(st.binary(max_size=300), unique=True, max_size=40))
def test_records_that_differ_in_any_byte_have_other_digests(texts: list[bytes]) -> None:
    assert len(set(digests_of(map(msgspec.Raw, texts)).tolist())) == len(texts)
