"""Values as SAP sends them: each quirk as a table, and a whole column read exactly as its cells are."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmms_pipelines.domain import sap_values

NEW_YORK, BERLIN = "America/New_York", "Europe/Berlin"


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        ("000000000010020570", "10020570"),
        ("10020570", "10020570"),
        (10020570, "10020570"),
        ("N355NB", "N355NB"),
        ("000N355NB", "000N355NB"),
        ("IE000000000217100901", "IE000000000217100901"),
        ("0000", "0"),
        ("٠٠٣", "٠٠٣"),  # digits of other scripts are no ALPHA key
        ("", None),
        (None, None),
    ],
)
def test_leading_zeros_go_from_keys_that_are_all_digits(raw: object, key: str | None) -> None:
    assert sap_values.read_key(raw) == key


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("PUMP   ", "PUMP"),
        ("PUMP____", "PUMP"),
        ("PUMP_ _\t", "PUMP"),
        ("PUMP\0\0", "PUMP"),
        ("PUMP_1", "PUMP_1"),
        ("________", None),
        ("   ", None),
        ("MÆRSK INSPIRER", "MÆRSK INSPIRER"),
        ("WELL NO 15/9-F-12 H MÆRSK INSPIRER 40 CH", "WELL NO 15/9-F-12 H MÆRSK INSPIRER 40 CH"),
    ],
)
def test_padding_goes_from_text_and_other_scripts_stay(raw: str, text: str | None) -> None:
    assert sap_values.read_text(raw) == text


@pytest.mark.parametrize(
    ("raw", "has_decimal_comma", "number"),
    [
        ("302.35-________", False, -302.35),
        ("2.0720000000000000E+04", False, 20720.0),
        ("-3.8484000000000000E+06", False, -3848400.0),
        ("24.00", False, 24.0),
        (24, False, 24.0),
        ("0.0", False, 0.0),
        ("1.234", False, 1.234),
        ("8,5", True, 8.5),
        ("1.234,50", True, 1234.5),
        ("1.234", True, 1234.0),
        ("302,35-", True, -302.35),
        ("2.0720000000000000E+04", True, 20720.0),
        ("", False, None),
        (None, False, None),
    ],
)
def test_numbers_are_read_in_the_form_of_their_source(raw: object, has_decimal_comma: bool, number: float | None) -> None:
    assert sap_values.read_number(raw, has_decimal_comma=has_decimal_comma) == number


@pytest.mark.parametrize("raw", ["8,5", "1.234,50", "1_000", "inf", "nan", "12 h", True, [1], {"value": 1}, 10**400])
def test_what_is_no_number_is_refused_and_never_guessed(raw: object) -> None:
    with pytest.raises((ValueError, OverflowError)):
        sap_values.read_number(raw)


@pytest.mark.parametrize(
    ("raw", "day"),
    [
        ("20130420", date(2013, 4, 20)),
        ("2013-04-20", date(2013, 4, 20)),
        ("2013-04-20 23:59:00", date(2013, 4, 20)),
        ("/Date(1492041600000)/", date(2017, 4, 13)),
        ("/Date(1734000000000+0000)/", date(2024, 12, 12)),
        ("/Date(-86400000)/", date(1969, 12, 31)),
        ("00000000", None),
        ("0000-00-00", None),
        ("", None),
        ("/Date(253402214400000)/", date(9999, 12, 31)),
    ],
)
def test_dates_of_every_dialect_are_the_same_day(raw: str, day: date | None) -> None:
    assert sap_values.read_date(raw) == day


@pytest.mark.parametrize("raw", ["2013-02-30", "20131301", "yesterday", "/Date(99999999999999999999)/", 7, ["2013-04-20"]])
def test_what_is_no_date_is_refused(raw: object) -> None:
    with pytest.raises((ValueError, OverflowError)):
        sap_values.read_date(raw)


@pytest.mark.parametrize(
    ("raw", "after_midnight"),
    [
        ("PT15H51M04S", timedelta(hours=15, minutes=51, seconds=4)),
        ("235900", timedelta(hours=23, minutes=59)),
        ("15:51:04", timedelta(hours=15, minutes=51, seconds=4)),
        ("240000", timedelta(days=1)),
        ("", None),
    ],
)
def test_a_time_is_what_it_adds_to_midnight_so_that_24_00_is_the_next_day(raw: str, after_midnight: timedelta | None) -> None:
    assert sap_values.read_time(raw) == after_midnight


def test_inverted_stamps_are_turned_back() -> None:
    assert sap_values.read_date(str(sap_values.read_inverted("79899168"))) == date(2010, 8, 31)
    assert sap_values.read_inverted("99999999899") == 100
    assert sap_values.read_inverted("") is None


@pytest.mark.parametrize(
    ("raw", "zone", "instant"),
    [
        ("2013-10-29T00:00:00Z", BERLIN, datetime(2013, 10, 29, tzinfo=UTC)),
        ("2013-10-28 23:59:00", NEW_YORK, datetime(2013, 10, 29, 3, 59, tzinfo=UTC)),
        ("2013-10-28 23:59:00  ", NEW_YORK, datetime(2013, 10, 29, 3, 59, tzinfo=UTC)),
        ("2013-10-28T23:59:00+0530", NEW_YORK, datetime(2013, 10, 28, 18, 29, tzinfo=UTC)),
        ("2013-10-28T23:59:00+05", NEW_YORK, datetime(2013, 10, 28, 18, 59, tzinfo=UTC)),
        ("/Date(1492041600000)/", NEW_YORK, datetime(2017, 4, 13, tzinfo=UTC)),
        ("2013-11-03 01:30:00", NEW_YORK, datetime(2013, 11, 3, 5, 30, tzinfo=UTC)),  # shown twice: the first passing
        ("2013-03-10 02:30:00", NEW_YORK, datetime(2013, 3, 10, 7, 30, tzinfo=UTC)),  # never shown: an hour later
        ("", NEW_YORK, None),
    ],
)
def test_a_stamp_without_a_zone_is_local_to_the_plant(raw: str, zone: str, instant: datetime | None) -> None:
    assert sap_values.read_instant(raw, zone) == instant


@pytest.mark.parametrize("raw", ["X", "x", "X  ", "true", "1", 1, True])
def test_flags_that_are_set(raw: object) -> None:
    assert sap_values.read_flag(raw) is True


@pytest.mark.parametrize("raw", ["", " ", None, "false", "0", 0, False])
def test_flags_that_are_not_set(raw: object) -> None:
    assert sap_values.read_flag(raw) is False


DIGITS = st.text("0123456789", max_size=18)
DAYS = st.dates(date(1990, 1, 1), date(2050, 12, 31))
STAMPS = st.datetimes(datetime(1990, 1, 1), datetime(2050, 12, 31))  # noqa: DTZ001 - stamps of a plant have no zone
CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12),
    DIGITS,
    st.builds("{}{}{}".format, st.sampled_from(["", " ", "-", "+"]), st.floats(0, 1e6), st.sampled_from(["", "-", "- __", "_"])),
    st.builds("{:,.2f}".format, st.floats(0, 1e6)),
    DAYS.map(str),
    DAYS.map("{:%Y%m%d}".format),
    st.builds("{}{}".format, STAMPS, st.sampled_from(["", " ", "Z", "+02:00", "-0500"])),
    st.integers(-(10**14), 10**15).map("/Date({})/".format),
    st.sampled_from(["X", "true", "00000000", "", "inf", "nan", "0x10", "1e400", "2013-W16-6", "2013", "2013-04-20T10:00+05"]),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)
COLUMNS = st.lists(CELLS, max_size=8)


def read_one(reader: Callable[[object], Any], cell: object) -> tuple[Any, bool]:
    """What a column must hold for `cell`, and whether it must be marked as unreadable."""
    try:
        return reader(cell), False
    except (ValueError, OverflowError):
        return None, True


def held(series: pd.Series) -> list[Any]:
    return [None if pd.isna(value) else value for value in series]


@given(COLUMNS)
def test_columns_of_text_and_keys_are_read_as_their_cells_are(cells: list[object]) -> None:
    assert held(sap_values.text_column(cells)) == [sap_values.read_text(cell) for cell in cells]
    assert held(sap_values.key_column(cells)) == [sap_values.read_key(cell) for cell in cells]


@given(COLUMNS, st.booleans())
def test_a_column_of_numbers_is_read_as_its_cells_are(cells: list[object], has_decimal_comma: bool) -> None:
    numbers, unreadable = sap_values.number_column(cells, has_decimal_comma=has_decimal_comma)
    expected = [read_one(lambda cell: sap_values.read_number(cell, has_decimal_comma=has_decimal_comma), cell) for cell in cells]
    assert list(zip(held(numbers), unreadable, strict=True)) == expected


@given(COLUMNS)
def test_a_column_of_dates_is_read_as_its_cells_are(cells: list[object]) -> None:
    days, unreadable = sap_values.date_column(cells)
    read = [day and day.date() for day in held(days)]
    assert list(zip(read, unreadable, strict=True)) == [read_one(sap_values.read_date, cell) for cell in cells]


@given(st.lists(st.tuples(CELLS, st.sampled_from([NEW_YORK, BERLIN, "UTC"])), max_size=8))
def test_a_column_of_instants_is_read_as_its_cells_are_each_in_its_own_zone(cells: list[tuple[object, str]]) -> None:
    instants, unreadable = sap_values.instant_column([cell for cell, _ in cells], [zone for _, zone in cells])
    expected = [read_one(lambda pair: sap_values.read_instant(*pair), pair) for pair in cells]
    assert list(zip(held(instants), unreadable, strict=True)) == expected


@given(COLUMNS)
def test_a_column_of_flags_is_read_as_its_cells_are_and_false_where_it_cannot_be(cells: list[object]) -> None:
    flags, unreadable = sap_values.flag_column(cells)
    expected = [read_one(sap_values.read_flag, cell) for cell in cells]
    assert list(zip(flags, unreadable, strict=True)) == [(bool(flag), is_unreadable) for flag, is_unreadable in expected]


# columns as sources send them: every cell of one form, so that they are read all at once, and then one cell that is not
STAMP_FORMS = ["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S.%fZ"]
FORMS: dict[str, st.SearchStrategy[object]] = {
    "keys": DIGITS.map(lambda digits: digits.zfill(18)),
    "numbers": st.builds("{:.4f}".format, st.floats(0, 1e9)),
    "counts": st.text("0123456789", min_size=1, max_size=18),
    "json numbers": st.one_of(st.none(), st.floats(-1e9, 1e9), st.integers(-(2**60), 2**60)),
    "texts": st.text(st.characters(min_codepoint=0x20, max_codepoint=0x17F), max_size=6),
    "days": DAYS.map(str),
    "sap days": DAYS.map("{:%Y%m%d}".format),
    "missing": st.sampled_from([None, "", " "]),
}


@st.composite
def nearly_uniform(draw: st.DrawFn) -> list[object]:
    cells = draw(st.lists(FORMS[draw(st.sampled_from(sorted(FORMS)))], min_size=1, max_size=12))
    for place, odd in draw(st.lists(st.tuples(st.integers(0, 11), CELLS), max_size=1)):
        cells.insert(place, odd)
    return cells


@given(nearly_uniform(), st.booleans())
def test_a_column_that_is_read_at_once_is_read_as_its_cells_are(cells: list[object], has_decimal_comma: bool) -> None:
    assert held(sap_values.text_column(cells)) == [sap_values.read_text(cell) for cell in cells]
    assert held(sap_values.key_column(cells)) == [sap_values.read_key(cell) for cell in cells]
    numbers, unreadable = sap_values.number_column(cells, has_decimal_comma=has_decimal_comma)
    expected = [read_one(lambda cell: sap_values.read_number(cell, has_decimal_comma=has_decimal_comma), cell) for cell in cells]
    assert list(zip(held(numbers), unreadable, strict=True)) == expected
    days, unreadable = sap_values.date_column(cells)
    read = [day and day.date() for day in held(days)]
    assert list(zip(read, unreadable, strict=True)) == [read_one(sap_values.read_date, cell) for cell in cells]


# hours around which clocks change somewhere, and years in which they were not yet standardized
CHANGES = st.one_of(
    st.datetimes(datetime(2013, 3, 10), datetime(2013, 3, 11)),  # noqa: DTZ001
    st.datetimes(datetime(2013, 11, 3), datetime(2013, 11, 4)),  # noqa: DTZ001
    st.datetimes(datetime(1850, 1, 1), datetime(2200, 1, 1)),  # noqa: DTZ001
)
NO_STAMPS = ["2013-02-30 10:00:00", "2013-10-28 24:00:00", "2013-10-28T23:59:60Z", "2013-1-28 10:00:00", "x", ""]
LORD_HOWE = "Australia/Lord_Howe"  # its clocks change by half an hour


@given(
    st.lists(st.tuples(CHANGES, st.sampled_from([NEW_YORK, BERLIN, LORD_HOWE, "UTC"])), min_size=1, max_size=12),
    st.sampled_from(STAMP_FORMS),
    st.lists(st.tuples(st.integers(0, 11), st.sampled_from(NO_STAMPS)), max_size=1),
)
def test_stamps_of_one_form_are_read_as_each_of_them_is(
    stamps: list[tuple[datetime, str]], form: str, odd: list[tuple[int, str]]
) -> None:
    cells: list[tuple[object, str]] = [(stamp.strftime(form), zone) for stamp, zone in stamps]
    for place, cell in odd:
        cells.insert(place, (cell, BERLIN))
    instants, unreadable = sap_values.instant_column([cell for cell, _ in cells], [zone for _, zone in cells])
    expected = [read_one(lambda pair: sap_values.read_instant(*pair), pair) for pair in cells]
    assert list(zip(held(instants), unreadable, strict=True)) == expected
