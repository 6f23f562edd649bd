"""The declarative file that is written: what changes in it, and what never does."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.entities.catalogue import ENTITY_TYPES
from gateway.entities.record import Entity, to_kong
from gateway.store import DeclarativeError, LoadMemory, check_file, declarative_file, operations
from gateway.store.declarative_file import DeclarativeFile
from gateway.store.draft import Draft
from gateway.store.errors import EntityError, StoreUnavailable
from gateway.store.interface import Operation, Store, StoreError
from gateway.store.source import DeclarativeSource
from gateway.store.writable_file import WritableFileStore

FILE = """\
# The configuration of the example.
_format_version: "3.0"   # Kong's format

services:
  # users and their accounts
  - name: users          # team A
    url: http://users.internal:8080/v1
    tags: [a, b]
    routes:
      - name: users-all
        paths: [/users]   # all of them
        plugins: []
      # old clients
      - name: users-old
        paths:
          - /u
          - /user

  - name: orders
    host: orders.internal
    retries: 3           # idempotent

consumers:
  - username: bob
    custom_id: "42"
    acls:
      - group: staff
# the end
"""


class File:
    """A writable store on a file, and the rules of writes."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        path.write_text(textwrap.dedent(text), newline="")
        self.store = self.opened()

    def opened(self) -> WritableFileStore:
        store = WritableFileStore(DeclarativeSource(path=self.path), LoadMemory())
        store.open()
        return store

    @property
    def text(self) -> str:
        return self.path.read_bytes().decode()

    def run(self, run: Callable[[Draft], Any], verb: str = "update", type_name: str = "services") -> Any:
        (outcome,) = self.store.transact([Operation(verb, type_name, run)])
        if outcome.error is not None:
            raise outcome.error
        self.check()
        return outcome.result

    def check(self) -> None:
        """The file alone says what the store says."""
        again = check_file(self.path)
        for name, table in self.store.configuration.entities.items():
            assert set(table) == set(again.of(name)), self.text
            for identifier, entity in table.items():
                assert essence(entity) == essence(again.of(name)[identifier]), self.text
        assert len(again) == len(self.store.configuration)

    def create(self, type_name: str, **values: Any) -> Entity:
        kind = ENTITY_TYPES[type_name]
        return self.run(lambda draft: operations.create(draft, kind, values), "create", type_name)  # type: ignore[no-any-return]

    def update(self, type_name: str, key: str, **values: Any) -> Entity:
        def run(draft: Draft) -> Entity:
            entity = draft.find(type_name, key)
            assert entity is not None
            return operations.update(draft, entity, values)

        return self.run(run, "update", type_name)  # type: ignore[no-any-return]

    def remove(self, type_name: str, key: str) -> None:
        def run(draft: Draft) -> None:
            entity = draft.find(type_name, key)
            assert entity is not None
            operations.remove(draft, entity)

        self.run(run, "remove", type_name)

    def find(self, type_name: str, key: str) -> Any:
        return self.store.configuration.find(type_name, key)


def essence(entity: Entity) -> dict[str, Any]:
    """What is not made up at a load."""
    form = to_kong(entity)
    return {
        name: value
        for name, value in form.items()
        if name not in ("created_at", "updated_at") and not str(value).startswith("$pbkdf2")
    }


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path / "kong.yml", FILE)


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


# --- the disk -------------------------------------------------------------------------------------


def test_a_link_leads_to_what_is_written(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target = tmp_path / "real" / "kong.yml"
    target.write_text(FILE)
    target.chmod(0o640)
    link = tmp_path / "kong.yml"
    link.symlink_to(target)
    store = WritableFileStore(DeclarativeSource(path=link), LoadMemory())
    store.open()
    store.transact([_creation("x")])
    assert link.is_symlink()
    assert "name: x" in target.read_text()
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["kong.yml", "kong.yml", "real"]


def _creation(name: str) -> Operation:
    values = {"name": name, "host": "h"}
    return Operation(
        "create", "services", lambda draft: operations.create(draft, ENTITY_TYPES["services"], values)
    )


def test_a_full_disk_changes_nothing(file: File, monkeypatch: pytest.MonkeyPatch) -> None:
    before = file.store.configuration

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreUnavailable, match="No space left on device"):
        file.store.transact([_creation("x")])
    assert file.text == FILE
    assert file.store.configuration is before
    assert [path.name for path in file.path.parent.iterdir()] == ["kong.yml"]
    monkeypatch.undo()
    file.store.transact([_creation("x")])
    file.check()


def test_a_read_only_file_system_is_told(file: File, monkeypatch: pytest.MonkeyPatch) -> None:
    original = os.open

    def read_only(path: Any, flags: int, *mode: int) -> int:
        if flags & os.O_CREAT:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return original(path, flags, *mode)

    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(StoreUnavailable, match=r"kong\.yml cannot be written: Read-only file system"):
        file.store.transact([_creation("x")])
    assert file.text == FILE


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_owner_stays(file: File) -> None:
    os.chown(file.path, 1234, 5678)
    file.store.transact([_creation("x")])
    assert "name: x" in file.text
    assert (file.path.stat().st_uid, file.path.stat().st_gid) == (1234, 5678)


def test_a_file_that_is_mounted_by_itself_is_refused() -> None:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    mounted = [path for path in (Path(line.split(" ")[4]) for line in lines) if path.is_file()]
    if not mounted:
        pytest.skip("no file is mounted here")
    with pytest.raises(StoreError, match="mount the directory"):
        DeclarativeFile(mounted[0]).check_writable()


def test_a_locked_directory_is_told(file: File, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(declarative_file, "LOCK_TIMEOUT", 0.05)
    descriptor = os.open(file.path.parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(StoreUnavailable, match="is locked by another process"):
            file.store.transact([_creation("x")])
    finally:
        os.close(descriptor)
    file.store.transact([_creation("x")])
    file.check()


def test_leftovers_of_killed_writers_are_removed(file: File) -> None:
    (file.path.parent / ".kong.yml.99999.new").write_text("half")
    file.store.transact([_creation("x")])
    assert [path.name for path in file.path.parent.iterdir()] == ["kong.yml"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_cannot_be_written_is_refused_at_the_start(file: File) -> None:
    file.path.parent.chmod(0o555)
    try:
        with pytest.raises(StoreError, match="may not write to the directory"):
            file.opened()
    finally:
        file.path.parent.chmod(0o755)


def test_a_start_without_a_file_is_refused(tmp_path: Path) -> None:
    for source, text in (
        (DeclarativeSource(), "set DECLARATIVE_CONFIG"),
        (DeclarativeSource(text="_format_version: '3.0'"), "DECLARATIVE_CONFIG_STRING cannot be written"),
        (DeclarativeSource(path=tmp_path / "none.yml"), "no such file"),
        (DeclarativeSource(path=tmp_path), "no such file"),
    ):
        store: Store = WritableFileStore(source, LoadMemory())
        with pytest.raises(StoreError, match=text):
            store.open()


def test_a_broken_file_at_the_start_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "kong.yml"
    path.write_text("services: [")
    with pytest.raises(DeclarativeError):
        WritableFileStore(DeclarativeSource(path=path), LoadMemory()).open()


# --- forms ----------------------------------------------------------------------------------------


def test_json_stays_json(tmp_path: Path) -> None:
    document = {
        "_format_version": "3.0",
        "services": [
            {"name": "a", "host": "h", "routes": [{"name": "r", "paths": ["/"]}]},
            {"name": "b", "host": "h"},
        ],
    }
    text = json.dumps(document, indent=4)
    file = File(tmp_path / "kong.json", text)
    file.update("services", "b", retries=1)
    document["services"][1] |= {"retries": 1} | {  # type: ignore[index,operator]
        name: getattr(file.find("services", "b"), name) for name in ("created_at", "updated_at")
    }
    assert json.loads(file.text) == document
    assert file.text.startswith(text[: text.index('"name": "b"')])
    file.create("routes", service={"id": file.find("services", "a").id}, paths=["/2"], name="second")
    file.remove("services", "b")
    assert json.loads(file.text)["services"][0]["routes"][1]["name"] == "second"
    assert file.text.count("\n    ") > 10


def test_aliases_are_written_out_where_they_must(tmp_path: Path) -> None:
    file = File(
        tmp_path / "kong.yml",
        """\
        _format_version: "3.0"
        services:
        - &base           # the base
          name: a
          host: h
          retries: 1
        - <<: *base
          name: b
        - name: c         # untouched
          host: h
          tags: &tags [x]
        - name: d
          host: h
          tags: *tags
        """,
    )
    file.update("services", "a", retries=2)
    assert file.find("services", "b").retries == 1
    assert "# the base" in file.text
    assert "- name: c         # untouched" in file.text
    file.update("services", "d", tags=["y"])
    assert file.find("services", "c").tags == ["x"]


def test_an_older_format(tmp_path: Path) -> None:
    file = File(
        tmp_path / "kong.yml",
        """\
        _format_version: "1.1"
        services:
        - name: a
          host: h
          routes:
          - name: r          # a comment
            paths: [/x, "/y\\\\d+"]
        """,
    )
    file.update("services", "a", retries=1)
    assert '_format_version: "1.1"' in file.text
    file.update("routes", "r", paths=["~/z$"])
    assert file.find("routes", "r").paths == ["~/z$"]
    assert "# a comment" in file.text


def test_line_ends_and_byte_order_marks_stay(tmp_path: Path) -> None:
    text = "\ufeff" + FILE.replace("\n", "\r\n")
    file = File(tmp_path / "kong.yml", text)
    file.update("services", "orders", retries=None, host="other")
    file.create("routes", name="x", paths=["/x"], service={"id": file.find("services", "orders").id})
    assert file.text.startswith("\ufeff#")
    assert file.text.count("\n") == file.text.count("\r\n")


def test_certificates_are_written_as_they_are(file: File) -> None:
    pem = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"
    file.create("services", name="pem", host="h", tags=["yes", "1.0", "null", "ünï: x"])
    from gateway.store.editing.rendering import YamlStyle

    assert YamlStyle().entry_lines("cert", pem) == ["cert: |", *("  " + line for line in pem.splitlines())]


# --- secrets --------------------------------------------------------------------------------------

IN_THE_CLEAR = """\
_format_version: "3.0"
consumers:
- username: bob
  basicauth_credentials:
  - username: u
    password: secret   # in the clear
"""


@pytest.fixture
def passwords(tmp_path: Path) -> File:
    return File(tmp_path / "kong.yml", IN_THE_CLEAR)


def test_passwords_stay_as_they_were_given(passwords: File) -> None:
    bob = passwords.find("consumers", "bob")
    made = passwords.create("basicauth_credentials", consumer={"id": bob.id}, username="v", password="other")  # noqa: S106
    assert "password: secret   # in the clear" in passwords.text
    assert "password: other" in passwords.text
    assert passwords.opened().configuration.find("basicauth_credentials", made.id) == made
    passwords.update("basicauth_credentials", "u", password="third")  # noqa: S106
    assert "password: third   # in the clear" in passwords.text


def test_a_hash_turns_the_file_into_one_of_hashes(passwords: File) -> None:
    bob, credential = passwords.find("consumers", "bob"), passwords.find("basicauth_credentials", "u")
    kind = ENTITY_TYPES["basicauth_credentials"]
    hashed = kind(
        id="11111111-0000-4000-8000-000000000000",
        created_at=5,
        consumer=credential.consumer,
        username="w",
        password="00ff",  # noqa: S106
    )
    passwords.run(lambda draft: draft.put(hashed), "create", "basicauth_credentials")
    assert "_transform: false" in passwords.text
    assert f"password: {credential.password}   # in the clear" in passwords.text
    assert "secret" not in passwords.text
    again = passwords.opened().configuration
    assert again.find("basicauth_credentials", "w") == hashed
    found: Any = again.find("basicauth_credentials", "u")
    assert (found.password, found.consumer.id) == (credential.password, bob.id)


def test_salted_secrets(passwords: File) -> None:
    bob = passwords.find("consumers", "bob")
    passwords.create(
        "oauth2_credentials",
        consumer={"id": bob.id},
        name="app",
        client_id="id",
        client_secret="clear",  # noqa: S106
        hash_secret=True,
    )
    assert "client_secret: clear" in passwords.text
    before = passwords.find("oauth2_credentials", "id")
    passwords.update("oauth2_credentials", "id", name="other")
    assert passwords.find("oauth2_credentials", "id").client_secret == before.client_secret
    assert "client_secret: clear" in passwords.text


def test_a_life_that_counts_from_the_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = File(
        tmp_path / "kong.yml",
        """\
        _format_version: "3.0"
        consumers:
        - username: bob        # comment
          keyauth_credentials:
          - key: k
            ttl: 1000          # seconds
        """,
    )
    expiry = file.find("keyauth_credentials", "k").expires_at
    later = time.time() + 100
    monkeypatch.setattr(time, "time", lambda: later)
    file.store.transact(
        [
            Operation(
                "create",
                "upstreams",
                lambda draft: operations.create(draft, ENTITY_TYPES["upstreams"], {"name": "u"}),
            )
        ]
    )
    bob = file.find("consumers", "bob")
    file.store.transact(
        [Operation("update", "consumers", lambda draft: operations.update(draft, bob, {"custom_id": "x"}))]
    )
    assert "ttl: 1000          # seconds" in file.text
    assert file.find("keyauth_credentials", "k").expires_at == expiry
    credential = file.find("keyauth_credentials", "k")
    file.store.transact(
        [
            Operation(
                "update",
                "keyauth_credentials",
                lambda draft: operations.update(draft, credential, {"tags": ["x"]}),
            )
        ]
    )
    assert "ttl" not in file.text
    assert "# comment" in file.text
    assert file.opened().configuration.find("keyauth_credentials", "k") == file.find(
        "keyauth_credentials", "k"
    )


# --- everything at once ---------------------------------------------------------------------------


def test_replacing_everything_keeps_what_is_said_already(file: File) -> None:
    target = file.path.parent / "other.yml"
    target.write_text(FILE.replace("retries: 3 ", "retries: 8 ") + "upstreams:\n- name: new\n")
    configuration = check_file(target)
    file.store.replace(configuration)
    assert file.store.configuration.hash == configuration.hash
    assert "    retries: 8           # idempotent" in file.text
    assert file.find("upstreams", "new")
    target.write_text("_format_version: '3.0'\n")
    file.store.replace(check_file(target))
    assert len(file.store.configuration) == 0
    assert len(check_file(file.path)) == 0
