"""Digests of records: what tells that a record came before, just as it comes now, and was judged as it would be now.

What belongs here: hashing records, and tying a hash to what their judgement depends on beside them. What does not: where
digests are kept (`storage.known_records`), and which records are left out by them (`sync.known_records`).

A digest has 64 bits of XXH3. It is held against those of one slice, some 50,000: that a record which differs has one of them is
as likely as 1 in 10^14. Nobody gains by a record that is taken for another one of his, so a hash made against forgery, which
takes nine times as long, would be wasted.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd
from xxhash import xxh3_64_intdigest

Digests = npt.NDArray[np.int64]

_BYTES = 8


def digests_of(texts: Iterable[msgspec.Raw]) -> Digests:
    """Return the digest of each record's JSON, character by character as it came."""
    return np.fromiter(map(xxh3_64_intdigest, texts), dtype="uint64").view("int64")


def digest_of_facts(*facts: object) -> int:
    """Return a digest of texts, numbers and days."""
    return int.from_bytes(blake2b(repr(facts).encode(), digest_size=_BYTES).digest(), "little", signed=True)


@dataclass(frozen=True)
class Judgement:
    """What the judgement of a slice depends on beside its records: a digest of it for each of its plants, by `plant_id`.

    A record's digest is sealed with that of its plant before it is kept. Where anything that goes into the judgement has
    changed, a kept digest is therefore none of any record.
    """

    of_plants: Mapping[int, int]

    def seal(self, digests: Digests, plant_ids: pd.Series) -> pd.Series:
        """Return what is kept of digests (Int64): missing for records of other plants than the slice's."""
        seals, is_known = self._seals(plant_ids.to_numpy(dtype="int64", na_value=-1))
        return pd.Series(pd.arrays.IntegerArray(digests ^ seals, ~is_known), index=plant_ids.index)

    def unseal(self, kept: Digests, plant_ids: npt.NDArray[np.int64]) -> Digests:
        """Return the digests of records again; all plants are the slice's."""
        return kept ^ self._seals(plant_ids)[0]

    def _seals(self, plant_ids: npt.NDArray[np.int64]) -> tuple[Digests, npt.NDArray[np.bool_]]:
        codes, distinct = pd.factorize(plant_ids)
        seals = np.array([self.of_plants.get(int(plant), 0) for plant in distinct], dtype="int64")
        is_known = np.array([int(plant) in self.of_plants for plant in distinct], dtype="bool")
        return seals[codes], is_known[codes]


def sealed(
    digests: Digests | None,
    judgement: Judgement | None,
    plant_ids: pd.Series,
    is_alone: pd.Series,
    failures: pd.DataFrame,
) -> pd.Series:
    """Return what is kept of the digests of a frame's records (Int64).

    Missing for records that something was noted about, of whatever severity, and for those that are not alone: what becomes
    of them depends on more than themselves.

    Args:
        digests, judgement: without either there is nothing to keep.
        plant_ids: of the records.
        is_alone: where no other record is about the same.
        failures: see `contracts.failures_of`.
    """
    if digests is None or judgement is None:
        return pd.Series(pd.NA, index=plant_ids.index, dtype="Int64")
    is_plain = is_alone.to_numpy(copy=True)
    is_plain[failures["row"].to_numpy()] = False
    return judgement.seal(digests, plant_ids).where(is_plain)
