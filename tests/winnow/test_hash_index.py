from hypothesis import given
from hypothesis import strategies as st

from winnow.hash_index import HashIndex


@given(st.lists(st.tuples(st.sampled_from(["add", "put", "get"]), st.text(max_size=2), st.integers(0, 2**40))))
def test_behaves_like_a_dictionary(steps):
    seen, oracle = HashIndex(), {}
    for action, text, number in steps:
        before = oracle.get(text)
        if action == "get":
            assert seen.get(text) == before
        elif action == "add":
            assert seen.add(text, number) == before
            oracle.setdefault(text, number)
        else:
            assert seen.put(text, number) == before
            oracle[text] = number
    assert len(seen) == len(oracle)


def test_grows_and_keeps_every_entry():
    seen = HashIndex()
    for number in range(20_000):
        assert seen.add(str(number), number) is None
    assert all(seen.get(str(number)) == number for number in range(20_000))
    assert seen.get("20000") is None
    assert len(seen) == 20_000
