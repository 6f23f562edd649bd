"""The declarative file that is written: what changes in it, and what never does; other writers."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest

from gateway.entities.catalogue import ENTITY_TYPES
from gateway.store import operations
from gateway.store.declarative_file import DeclarativeFile
from gateway.store.errors import EntityError, StoreUnavailable
from gateway.store.interface import Operation
from gateway.store.source import DeclarativeSource
from tests.support.written_file import FILE, File


def changed_lines(before: str, after: str) -> tuple[list[str], list[str]]:
    """Lines that are gone, and lines that are new."""
    old, new = before.splitlines(), after.splitlines()
    return [line for line in old if line not in new], [line for line in new if line not in old]


def test_a_changed_field_changes_its_line(file: File) -> None:
    file.update("services", "orders", retries=7)
    gone, new = changed_lines(FILE, file.text)
    assert gone == ["    retries: 3           # idempotent"]
    assert new[0] == "    retries: 7           # idempotent"
    assert [line.split(":")[0].strip() for line in new[1:]] == ["created_at", "updated_at"]


def test_a_second_change_touches_two_lines(file: File) -> None:
    file.update("services", "orders", retries=7)
    before = file.text
    file.store.configuration.find("services", "orders")
    file.update("services", "orders", retries=8)
    gone, _ = changed_lines(before, file.text)
    assert "    retries: 7           # idempotent" in gone
    assert len(gone) <= 2


def test_the_shorthand_url_stays_one(file: File) -> None:
    file.update("services", "users", host="people.internal")
    assert "    url: http://people.internal:8080/v1\n" in file.text
    file.update("services", "users", protocol="grpc", path=None, port=80)
    assert "    url: grpc://people.internal\n" in file.text
    file.update("services", "users", host="::1")
    assert file.find("services", "users").host in ("::1", "[::1]")
    assert "url:" not in file.text


def test_a_new_entity_goes_where_its_siblings_are(file: File) -> None:
    route = file.create(
        "routes", service={"id": file.find("services", "users").id}, paths=["/new"], name="r3"
    )
    assert (
        file.text.replace(
            textwrap.indent(
                f"""\
- name: r3
  id: {route.id}
  paths:
    - /new
  created_at: {route.created_at}
  updated_at: {route.updated_at}
""",  # type: ignore[attr-defined]
                "      ",
            ),
            "",
        )
        == FILE
    )
    service = file.create("services", name="third", host="h")
    lines = file.text.splitlines()
    assert lines[lines.index("consumers:") - 7 : lines.index("consumers:")] == [
        "    retries: 3           # idempotent",
        "  - name: third",
        f"    id: {service.id}",
        "    host: h",
        f"    created_at: {service.created_at}",  # type: ignore[attr-defined]
        f"    updated_at: {service.updated_at}",  # type: ignore[attr-defined]
        "",
    ]


def test_the_first_of_its_type_has_a_list_of_its_own(file: File) -> None:
    upstream = file.create("upstreams", name="pool")
    file.create("targets", upstream={"id": upstream.id}, target="10.0.0.1:80")
    assert file.text.startswith(FILE.removesuffix("# the end\n"))
    document = file.text.partition("upstreams:\n")[2]
    assert "    targets:\n      - target: 10.0.0.1:80\n" in document


def test_what_is_removed_leaves_the_rest(file: File) -> None:
    file.remove("routes", "users-old")
    gone, new = changed_lines(FILE, file.text)
    assert gone == ["      - name: users-old", "        paths:", "          - /u", "          - /user"]
    assert new == []
    file.remove("routes", "users-all")
    file.remove("services", "users")
    file.remove("services", "orders")
    file.remove("consumers", "bob")
    assert [line for line in file.text.splitlines() if line and not line.lstrip().startswith("#")] == [
        '_format_version: "3.0"   # Kong\'s format'
    ]


def test_a_new_name_keeps_the_id_and_what_refers_to_it(tmp_path: Path) -> None:
    file = File(
        tmp_path / "kong.yml",
        """\
        _format_version: "3.0"
        services:
        - {name: a, host: h}   # flow
        routes:
        - name: r
          service: a           # by name
          paths: [/]
        - paths: [/x]
          service: a
        - paths: [/x]
          service: a
        """,
    )
    before = file.store.configuration
    identifier = file.find("services", "a").id
    file.update("services", "a", name="b")
    assert file.find("services", "b").id == identifier
    assert set(file.store.configuration.of("routes")) == set(before.of("routes"))
    assert "  service: b           # by name\n" in file.text
    nameless = [route.id for route in file.store.configuration.of("routes").values() if not route.name]  # type: ignore[attr-defined]
    file.remove("routes", nameless[0])
    assert file.find("routes", nameless[1])


def test_only_tables_that_change_are_other_objects(file: File) -> None:
    before = file.store.configuration
    file.update("consumers", "bob", custom_id="43")
    after = file.store.configuration
    assert after.of("routes") is before.of("routes")
    assert after.of("services") is before.of("services")
    assert after.hash != before.hash


def test_times_outlive_a_restart(file: File) -> None:
    file.create("services", name="new", host="h", created_at=1000)
    changed = file.update("services", "orders", retries=1)
    again = file.opened()
    assert again.configuration.find("services", "new") == file.find("services", "new")
    assert again.configuration.find("services", "orders") == changed


def test_refused_operations_change_nothing(file: File) -> None:
    with pytest.raises(EntityError):
        file.create("services", name="orders", host="h")
    outcomes = file.store.transact(
        [
            Operation(
                "create", "services", lambda draft: operations.create(draft, ENTITY_TYPES["services"], {})
            ),
            Operation("remove", "services", lambda draft: None),
        ]
    )
    assert isinstance(outcomes[0].error, EntityError)
    assert not outcomes[1].changed
    assert file.text == FILE


def test_all_operations_of_a_transaction_are_one_write(file: File) -> None:
    def creation(name: str) -> Operation:
        values = {"name": name, "host": "h"}
        return Operation(
            "create", "services", lambda draft: operations.create(draft, ENTITY_TYPES["services"], values)
        )

    outcomes = file.store.transact([creation("x"), creation("orders"), creation("y")])
    assert [outcome.changed for outcome in outcomes] == [True, False, True]
    file.check()
    assert file.find("services", "x")
    assert file.find("services", "y")


# --- other writers --------------------------------------------------------------------------------


def test_hand_edits_are_taken_over_before_a_write(file: File) -> None:
    file.path.write_text(FILE.replace("retries: 3 ", "retries: 4 ").replace("# the end", "# END"))
    file.update("consumers", "bob", custom_id="43")
    assert file.find("services", "orders").retries == 4
    assert "retries: 4 " in file.text
    assert '"43"' in file.text
    assert file.text.endswith("# END\n")


def test_a_hand_edit_decides_whether_a_write_is_possible(file: File) -> None:
    file.path.write_text(FILE + "upstreams:\n- name: taken\n")
    with pytest.raises(EntityError) as caught:
        file.create("upstreams", name="taken")
    assert caught.value.code == 5


def test_a_broken_file_is_not_written(file: File) -> None:
    broken = FILE.replace("retries: 3 ", "retries: many ")
    file.path.write_text(broken)
    with pytest.raises(StoreUnavailable, match=r"kong\.yml:21: services\[1\]\.retries: expected an integer"):
        file.update("consumers", "bob", custom_id="43")
    assert file.text == broken
    assert not file.store.is_reachable
    file.path.write_text(FILE)
    file.update("consumers", "bob", custom_id="43")
    assert file.store.is_reachable


def test_catching_up(file: File) -> None:
    assert not file.store.catch_up()
    before = file.store.configuration
    file.path.write_text(FILE.replace('custom_id: "42"', 'custom_id: "43"'))
    assert file.store.catch_up()
    assert file.find("consumers", "bob").custom_id == "43"
    assert file.store.configuration.of("routes") is before.of("routes")
    assert not file.store.catch_up()
    file.path.unlink()
    with pytest.raises(StoreUnavailable, match="no such file"):
        file.store.catch_up()


def test_a_reload_of_the_same_text_keeps_every_entity(file: File) -> None:
    file.update("services", "users", retries=1)
    before = file.store.configuration
    file.path.write_text(file.text + "# one more\n")
    after = file.store.reload(DeclarativeSource(path=file.path))
    assert all(after.of(name) is table for name, table in before.entities.items())


def test_another_writer_at_the_last_moment(file: File, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = DeclarativeFile.replace
    edits = [FILE.replace('custom_id: "42"', 'custom_id: "44"')]

    def interrupted(self: DeclarativeFile, data: bytes, before: Any) -> Any:
        if edits:
            self.path.write_text(edits.pop())
        return replace(self, data, before)

    monkeypatch.setattr(DeclarativeFile, "replace", interrupted)
    file.update("services", "orders", retries=9)
    assert file.find("consumers", "bob").custom_id == "44"
    assert file.find("services", "orders").retries == 9


def test_two_stores_on_one_file(file: File) -> None:
    other = File.__new__(File)
    other.path, other.store = file.path, file.opened()
    file.create("services", name="x", host="h")
    other.create("services", name="y", host="h")
    with pytest.raises(EntityError):
        other.create("services", name="x", host="h")
    assert other.find("services", "x")
    assert file.store.catch_up()
    assert file.find("services", "y")
