"""Pages of lists, offsets, sizes, tag filters and /tags."""

from __future__ import annotations

import contextlib
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_plane import Api, with_api

from gateway.admin import entities
from gateway.admin.lists import WORTH_KEEPING
from gateway.admin.paging import offset_of, place_of
from gateway.store.errors import EntityError


async def walk(api: Api, target: str) -> list[list[Any]]:
    """The pages of a list, from `next` to `next`."""
    pages = []
    following: str | None = target
    while following is not None:
        page = (await api.json("GET", following)).json()
        assert ("offset" in page) == (page["next"] is not None)
        if page["next"]:
            assert f"offset={page['offset']}" in page["next"]
        pages.append(page["data"])
        following = page["next"]
    return pages


def identifier(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


def test_pages_of_a_collection(tmp_path: Path) -> None:
    async def test(api: Api) -> None:
        for number in (3, 1, 7, 5, 2, 6, 4):
            await api.made("/services", {"id": identifier(number), "host": "h"})
        pages = await walk(api, "/services?size=3")
        ids = [[service["id"] for service in page] for page in pages]
        assert ids == [[identifier(n) for n in page] for page in ((1, 2, 3), (4, 5, 6), (7,))]
        assert [len(page) for page in await walk(api, "/services?size=7")] == [7]
        first = (await api.json("GET", "/services/?size=3")).json()
        assert first["next"] == f"/services?offset={first['offset']}&size=3"
        # What goes meanwhile is not shown; where the page ended is still a place; what comes is seen.
        await api.json("DELETE", f"/services/{identifier(3)}")
        await api.json("DELETE", f"/services/{identifier(4)}")
        await api.made("/services", {"id": identifier(8), "host": "h"})
        following = await walk(api, first["next"])
        assert [service["id"] for page in following for service in page] == [
            identifier(n) for n in (5, 6, 7, 8)
        ]

    with_api(tmp_path, test)


def test_pages_of_children(tmp_path: Path) -> None:
    async def test(api: Api) -> None:
        await api.made("/consumers", {"username": "a b"})
        await api.made("/consumers", {"username": "other"})
        made = [await api.made("/consumers/a%20b/key-auth", {}) for _ in range(7)]
        await api.made("/consumers/other/key-auth", {})
        pages = await walk(api, "/consumers/a%20b/key-auth?size=3")
        assert [len(page) for page in pages] == [3, 4], "as in Kong, `next` does not repeat the size"
        found = [key["id"] for page in pages for key in page]
        assert found == sorted(key["id"] for key in made)
        first = (await api.json("GET", "/consumers/a%20b/key-auth?size=3&tags=none")).json()
        assert first["next"] == f"/consumers/a%20b/key-auth?offset={first['offset']}"

    with_api(tmp_path, test)


def test_targets_are_listed_newest_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(api: Api) -> None:
        await api.made("/upstreams", {"name": "u"})
        for number, seconds in enumerate((1000.5, 1000.5, 2000.25, 3000, 999.999)):
            await api.made(
                "/upstreams/u/targets", {"target": f"10.0.0.{number}:80", "created_at": 1.7e9 + seconds}
            )
        everything = (await api.json("GET", "/upstreams/u/targets")).json()["data"]
        created = [target["created_at"] - 1.7e9 for target in everything]
        assert created == [
            pytest.approx(value, abs=1e-5) for value in (3000, 2000.25, 1000.5, 1000.5, 999.999)
        ]
        for size in range(1, 6):
            following: str | None = f"/upstreams/u/targets?size={size}"
            seen: list[Any] = []
            while following:
                page = (await api.json("GET", following)).json()
                seen += page["data"]
                following = page["next"] and f"{page['next']}&size={size}"
            assert seen == everything

    with_api(tmp_path, test)


@pytest.mark.parametrize(
    ("query", "code", "message"),
    [
        *[
            (f"size={size}", 9, "size must be an integer between 1 and 1000")
            for size in ("0", "1001", "-1", "1.5", "1e9", "+0")
        ],
        *[
            (f"size={size}", 9, "size must be a number")
            for size in ("", "x", "1_0", "inf", "nan", "0x1", "٣")
        ],
        ("offset=bogus", 7, "'bogus' is not a valid offset: bad base64 encoding"),
        ("offset=%C3%A9", 7, "'é' is not a valid offset: bad base64 encoding"),
        ("offset=", 7, "'' is not a valid offset: bad json encoding"),
        ("offset=eHh4", 7, "'eHh4' is not a valid offset: bad json encoding"),
        (f"offset={offset_of('routes', ['x'])}", 7, None),
        ("tags=", 11, "invalid option (tags: cannot be null)"),
        ("tags=a,b/c", 11, "invalid option (tags: invalid filter syntax)"),
        ("tags=%2C", 11, "invalid option (tags: invalid filter syntax)"),
        ("tags=a,b,c,d,e,f", 11, "invalid option (tags: cannot query more than 5 tags)"),
    ],
)
def test_queries_that_make_no_sense(tmp_path: Path, query: str, code: int, message: str | None) -> None:
    async def test(api: Api) -> None:
        answer = await api.json("GET", f"/services?{query}")
        assert (answer.status, answer.json()["code"]) == (400, code)
        if message is not None:
            assert answer.json()["message"] == message
        if code == 11:
            assert answer.json()["options"].keys() == {"tags"}

    with_api(tmp_path, test)


def test_sizes_that_make_sense(tmp_path: Path) -> None:
    async def test(api: Api) -> None:
        for size in ("1", "1000", "1e2", "5.0", "%205"):
            assert (await api.json("GET", f"/services?size={size}")).status == 200
        assert (await api.json("GET", "/services?unknown=1")).status == 200

    with_api(tmp_path, test)


def test_tags(tmp_path: Path) -> None:
    async def test(api: Api) -> None:
        tags: dict[int, Any] = {1: ["a"], 2: ["a", "b"], 3: ["b"], 4: ["sp ace", "c"], 5: None, 6: []}
        for number, some in tags.items():
            await api.made("/consumers", {"id": identifier(number), "username": f"c{number}", "tags": some})
        await api.made("/services", {"id": identifier(9), "host": "h", "tags": ["a", "z"]})
        for query, numbers in (
            ("a", [1, 2]),
            ("a,b", [2]),
            ("a/b", [1, 2, 3]),
            ("none", []),
            ("sp%20ace", [4]),
            ("a,", []),
            ("a&tags=b", [2]),
        ):
            found = (await api.json("GET", f"/consumers?tags={query}")).json()["data"]
            assert [consumer["id"] for consumer in found] == [identifier(number) for number in numbers]
        page = (await api.json("GET", "/consumers?tags=a/b&size=2")).json()
        assert page["next"] == f"/consumers?offset={page['offset']}&tags=a%2Fb&size=2"
        assert [len(one) for one in await walk(api, "/consumers?tags=a/b&size=2")] == [2, 1]
        rows = [
            {"entity_name": name, "entity_id": identifier(number), "tag": tag}
            for name, number, tag in (
                ("consumers", 1, "a"),
                ("consumers", 2, "a"),
                ("consumers", 2, "b"),
                ("consumers", 3, "b"),
                ("consumers", 4, "c"),
                ("consumers", 4, "sp ace"),
                ("services", 9, "a"),
                ("services", 9, "z"),
            )
        ]
        for size in range(1, 10):
            assert [row for page in await walk(api, f"/tags?size={size}") for row in page] == rows
        pages = await walk(api, "/tags/a?size=1")
        assert pages == [[row] for row in rows if row["tag"] == "a"]
        assert (await api.json("GET", "/tags/sp%20ace")).json()["data"] == [rows[5]]
        assert (await api.json("GET", "/tags/none")).json() == {"data": [], "next": None}
        assert (await api.json("DELETE", "/tags/a")).status == 204

    with_api(tmp_path, test)


def test_a_page_costs_what_is_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(api: Api) -> None:
        for number in range(300):
            await api.made("/services", {"host": f"h{number}"})
        shown = 0
        original = entities.admin_form

        def counting(*arguments: Any) -> Any:
            nonlocal shown
            shown += 1
            return original(*arguments)

        monkeypatch.setattr(entities, "admin_form", counting)
        asked: list[int] = []
        ids_after = type(api.plane.configuration).ids_after

        def counting_ids(self: Any, type_name: str, after: str | None, count: int) -> list[str]:
            asked.append(count)
            return ids_after(self, type_name, after, count)

        monkeypatch.setattr(type(api.plane.configuration), "ids_after", counting_ids)
        page = (await api.json("GET", "/services?size=10")).json()
        assert len(page["data"]) == shown == 10
        assert asked == [11]

    with_api(tmp_path, test)


PARTS = st.text(st.characters(exclude_characters="|\0", exclude_categories=["Cs"]), max_size=20)


@given(st.lists(PARTS.filter(bool), min_size=1, max_size=3))
def test_an_offset_brings_back_its_place(parts: list[str]) -> None:
    assert place_of(offset_of("tags", parts), "tags", len(parts)) == tuple(parts)


@given(st.text(max_size=60), st.integers(1, 3))
def test_no_offset_breaks_anything(offset: str, places: int) -> None:
    with contextlib.suppress(EntityError):
        assert len(place_of(offset, "services", places)) == places


def test_an_offset_looks_like_kongs() -> None:
    # Recorded from Kong without a database.
    offset = (
        "cGx1Z2luc3wwZGM2ZjQ1Yi04ZjhkLTQwZDItYTUwNC00NzM1NDRlZTE5MGJ8"
        "KnxiYzU4ZGNlNy1iNjg1LTU2M2QtYjFlMy1jM2RkNzMxYzIyZTcA"
    )
    plugin = str(uuid.UUID("bc58dce7-b685-563d-b1e3-c3dd731c22e7"))
    assert offset_of("plugins", [plugin]) == offset
    assert place_of(offset, "plugins", 1) == (plugin,)


def test_pages_of_many_children_follow_changes(tmp_path: Path) -> None:
    async def test(api: Api) -> None:
        ids = []
        for name in ("many", "few"):
            await api.made("/consumers", {"username": name})
        for number in range(WORTH_KEEPING + 50):
            ids.append((await api.made("/consumers/many/key-auth", {"key": f"k{number}"}))["id"])
        ids.sort()
        first = (await api.json("GET", "/consumers/many/key-auth?size=100")).json()
        assert [key["id"] for key in first["data"]] == ids[:100]
        assert (await api.json("DELETE", f"/consumers/many/key-auth/{ids[100]}")).status == 204
        page = (await api.json("GET", f"{first['next']}&size=1000")).json()
        assert [key["id"] for key in page["data"]] == ids[101:]
        assert (await api.json("GET", "/consumers/few/key-auth")).json()["data"] == []

    with_api(tmp_path, test)
