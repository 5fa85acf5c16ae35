import hashlib
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from curate.measure.claims import Claims, open_claims, short_key
from curate.measure.store import short_keys


def key(number):
    return hashlib.sha256(str(number).encode()).hexdigest()


@pytest.mark.parametrize("seed", range(5))
def test_the_first_path_decodes_and_no_later_one_as_a_dict_would_say(tmp_path, seed):
    chance, first = random.Random(seed), {}
    known = sorted(short_key(key(number)) for number in range(0, 300, 3))
    with open_claims(tmp_path, np.array(known, np.uint64), 2000) as claims:
        for number in range(2000):
            asked = key(chance.randrange(600))
            expected = short_key(asked) not in known and first.setdefault(asked, number) == number
            assert claims.take(asked, number) == expected
            assert claims.take(asked, number) == expected  # a batch that is done again
    assert not list(tmp_path.iterdir())


def test_an_earlier_path_takes_what_a_later_one_has_claimed(tmp_path):
    with open_claims(tmp_path, np.empty(0, np.uint64), 10) as claims:
        assert claims.take(key(1), 7) and claims.take(key(1), 3) and not claims.take(key(1), 7)


def test_all_known_images_are_found_and_no_others(tmp_path):
    known = np.sort(np.array([short_key(key(number)) for number in range(50_000)], np.uint64))
    with open_claims(tmp_path, known, 1) as claims:
        assert not any(claims.take(key(number), 0) for number in range(0, 50_000, 97))
        assert all(claims.take(key(number), 0) for number in range(50_000, 50_400))


def test_a_machine_that_does_not_see_the_file_decodes(tmp_path):
    assert Claims(str(tmp_path / "elsewhere"), 5, 1024).take(key(1), 0)


def test_a_full_table_is_no_harm(tmp_path):
    with open_claims(tmp_path, np.empty(0, np.uint64), 1) as claims:
        assert all(claims.take(key(number), number) for number in range(5000))


def test_one_file_is_open_at_a_time(tmp_path):
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with open_claims(tmp_path, np.empty(0, np.uint64), 1) as claims:
            claims.take(key(1), 1)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1


def test_short_keys_of_a_column():
    names = [key(number) for number in range(1000)] + ["0" * 64]
    column = pa.chunked_array([pa.array(names[:7]).slice(2), pa.array([], pa.string()), pa.array(names[7:])])
    assert short_keys(column).tolist() == [short_key(name) for name in names[2:]]
