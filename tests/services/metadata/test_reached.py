"""Which roots reach which digests, on any graph."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stowage.services.metadata.reached import Reached, spread

NODES = "abcdefgh"
GRAPHS = st.dictionaries(st.sampled_from(NODES), st.sets(st.sampled_from(NODES)))


@given(GRAPHS, st.sets(st.sampled_from(NODES)))
def test_every_root_that_reaches_a_digest_is_found(children: dict[str, set[str]], roots: set[str]) -> None:
    found = spread(roots, children)
    assert {root: {digest for digest, by in found.items() if root in by} for root in roots} == {
        root: below(root, children) for root in roots
    }


@given(GRAPHS, st.sets(st.sampled_from(NODES)))
def test_bytes_and_numbers_are_those_of_each_root(children: dict[str, set[str]], roots: set[str]) -> None:
    sizes = {digest: 1 << position for position, digest in enumerate(NODES[:5])}
    found = spread(roots, children)
    reached = Reached({digest: size for digest, size in sizes.items() if digest in found}, {}, children, found)
    for root in roots:
        assert reached.bytes_by_root()[root] == sum(sizes.get(digest, 0) for digest in below(root, children))
        assert reached.bytes_by_root(lambda digest: digest == "b")[root] == (2 if "b" in below(root, children) else 0)
        links = sum(len(children.get(digest, ())) for digest in below(root, children))
        assert sum(reached.groups()[root].values()) == len(below(root, children)) + links


def test_digests_that_the_same_roots_reach_share_the_set_of_these() -> None:
    common = {str(number) for number in range(100)}
    found = spread(["a", "b"], {"a": {"c"}, "b": {"c", "own"}, "c": common})
    assert len({id(found[digest]) for digest in common | {"c"}}) == 1
    assert found["own"] == {"b"}


def below(root: str, children: dict[str, set[str]]) -> set[str]:
    found, waiting = {root}, [root]
    while waiting:
        new = children.get(waiting.pop(), set()) - found
        found |= new
        waiting += new
    return found


def test_a_cycle_costs_no_more_than_its_links() -> None:
    nodes = list(map(str, range(2000)))
    children = {node: {nodes[number - 1], nodes[(number + 1) % len(nodes)]} for number, node in enumerate(nodes)}
    looked = 0

    class Counting(dict[str, set[str]]):
        def get(self, key: str, default: object = None) -> object:  # type: ignore[override]
            nonlocal looked
            looked += 1
            return super().get(key, default)

    found = spread(nodes, Counting(children))
    assert {id(roots) for roots in found.values()} == {id(found["0"])}
    assert looked < 5 * len(nodes)
