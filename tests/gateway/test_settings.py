"""Settings: precedence, Kong's names, warnings, complete error reports."""

import dataclasses
from pathlib import Path

import pytest

from gateway.settings import (
    DECLARATIONS,
    Listener,
    Scope,
    Settings,
    SettingsError,
    Sources,
    changed_settings,
    find_prefix,
    load_from,
    load_settings,
)
from gateway.settings import sources as sources_module
from gateway.settings.sources import ConfError, read_conf
from gateway.settings.values import usable_processors
from tests.support.settings import load, problems


@pytest.fixture(autouse=True)
def _no_conf_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources_module, "CONF_LOCATIONS", ())


# --- defaults and precedence ------------------------------------------------------------------------


def test_defaults_are_valid_and_are_kongs() -> None:
    settings = load()
    assert settings.warnings == ()
    assert settings.proxy_listen == (Listener("0.0.0.0", 8000, reuseport=True, backlog=16384),)
    assert settings.admin_listen == (Listener("127.0.0.1", 8001),)
    assert settings.status_listen == (Listener("127.0.0.1", 8007),)
    assert settings.worker_processes == len(usable_processors())
    assert settings.keepalive_timeout == 75.0
    assert settings.client_max_body_size == 0
    assert settings.client_body_buffer_size == 8192
    assert settings.upstream_keepalive_pool_size == 512
    assert settings.error_default_type == "text/plain"
    assert settings.real_ip_header == "X-Real-IP"
    assert settings.database == "sqlite"
    assert settings.sqlite_path == settings.prefix / "sluicegate.sqlite"
    assert (settings.pg_host, settings.pg_port, settings.pg_timeout) == ("127.0.0.1", 5432, 5.0)
    assert all(settings.origin(name) == "default" for name in DECLARATIONS)


def test_every_setting_has_a_type_a_form_and_a_meaning() -> None:
    attributes = {field.name for field in dataclasses.fields(Settings)}
    assert set(DECLARATIONS) <= attributes
    for declaration in DECLARATIONS.values():
        assert declaration.meaning
        assert declaration.kind.allowed
        assert declaration.meaning[-1] != "."


def test_flags_beat_environment_beats_conf_file(tmp_path: Path) -> None:
    conf = tmp_path / "gateway.conf"
    conf.write_text("keepalive_requests = 1\nlog_level = info\nsend_timeout = 3s\n")
    environ = {"GATEWAY_KEEPALIVE_REQUESTS": "2", "GATEWAY_LOG_LEVEL": "warn"}
    settings = load_settings(conf, environ, {"keepalive_requests": "3"})
    assert (settings.keepalive_requests, settings.log_level, settings.send_timeout) == (3, "warn", 3.0)
    assert settings.origin("keepalive_requests") == "flag"
    assert settings.origin("log_level") == "environment GATEWAY_LOG_LEVEL"
    assert settings.origin("send_timeout") == f"conf file {conf}, line 3"


def test_router_flavor() -> None:
    assert load().router_flavor == "traditional_compatible"
    assert load(KONG_ROUTER_FLAVOR="traditional").router_flavor == "traditional"
    with pytest.raises(SettingsError, match="routes with an expression are not available"):
        load(GATEWAY_ROUTER_FLAVOR="expressions")
    with pytest.raises(SettingsError, match="allowed: 'traditional_compatible' or 'traditional'"):
        load(GATEWAY_ROUTER_FLAVOR="compatible")


def test_gateway_names_beat_kong_names() -> None:
    settings = load(GATEWAY_LOG_LEVEL="warn", KONG_LOG_LEVEL="debug", KONG_REAL_IP_RECURSIVE="on")
    assert settings.log_level == "warn"
    assert settings.real_ip_recursive is True
    assert settings.origin("real_ip_recursive") == "environment KONG_REAL_IP_RECURSIVE"


def test_kongs_own_names() -> None:
    settings = load(
        KONG_NGINX_WORKER_PROCESSES="3",
        KONG_NGINX_HTTP_CLIENT_MAX_BODY_SIZE="1m",
        KONG_NGINX_PROXY_CLIENT_MAX_BODY_SIZE="2m",
        KONG_NGINX_HTTP_KEEPALIVE_REQUESTS="7",
        KONG_NGINX_EVENTS_WORKER_CONNECTIONS="100",
    )
    assert settings.worker_processes == 3
    assert settings.client_max_body_size == 2 << 20
    assert settings.keepalive_requests == 7
    assert settings.worker_connections == 100
    assert settings.warnings == ()


def test_named_conf_file_from_the_environment(tmp_path: Path) -> None:
    conf = tmp_path / "named.conf"
    conf.write_text("log_level = debug\n")
    assert load(GATEWAY_CONF=str(conf)).log_level == "debug"


def test_usual_conf_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conf = tmp_path / "kong.conf"
    conf.write_text("log_level = debug\n")
    monkeypatch.setattr(sources_module, "CONF_LOCATIONS", (tmp_path / "missing.conf", conf))
    assert load().log_level == "debug"


def test_missing_conf_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        load_settings(tmp_path / "missing.conf", {})


# --- databases ----------------------------------------------------------------------------------------


def test_declarative_configuration_decides_for_no_database() -> None:
    for name in ("DECLARATIVE_CONFIG", "DECLARATIVE_CONFIG_STRING"):
        settings = load(**{f"KONG_{name}": "kong.yml"})
        assert settings.database == "off"
        assert settings.origin("database") == f"default with {name}"
    settings = load(KONG_DECLARATIVE_CONFIG="kong.yml", KONG_DATABASE="postgres")
    assert settings.database == "postgres"
    assert "DECLARATIVE_CONFIG (environment KONG_DECLARATIVE_CONFIG) is not used" in settings.warnings[0]


def test_kongs_names_for_postgres() -> None:
    settings = load(
        KONG_DATABASE="postgres",
        KONG_PG_HOST="db",
        KONG_PG_PORT="6432",
        KONG_PG_USER="u",
        KONG_PG_PASSWORD="p",  # noqa: S106 - not a real one
        KONG_PG_DATABASE="d",
        KONG_PG_SCHEMA="s",
        KONG_PG_TIMEOUT="2500",
        KONG_PG_SSL="on",
        KONG_PG_SSL_VERIFY="on",
        KONG_LUA_SSL_TRUSTED_CERTIFICATE="/etc/ca.pem",
        KONG_DB_UPDATE_FREQUENCY="5",
    )
    assert settings.warnings == ()
    found = (settings.pg_host, settings.pg_port, settings.pg_user, settings.pg_password, settings.pg_database)
    assert found == ("db", 6432, "u", "p", "d")
    assert (settings.pg_schema, settings.pg_timeout, settings.db_update_frequency) == ("s", 2.5, 5.0)
    assert (settings.pg_ssl, settings.pg_ssl_verify) == (True, True)
    assert settings.pg_ssl_ca_file == ("/etc/ca.pem",)
    assert "'p'" not in repr(settings)


def test_several_files_of_authorities_only_matter_where_they_are_used() -> None:
    several = {"KONG_LUA_SSL_TRUSTED_CERTIFICATE": "system,/etc/ca.pem"}
    assert load(**several).database == "sqlite"
    (problem,) = problems(**several, KONG_PG_SSL_VERIFY="on")
    assert "allowed: one PEM file" in problem


def test_writable_declarative_file() -> None:
    settings = load(GATEWAY_DECLARATIVE_CONFIG="kong.yml", GATEWAY_DECLARATIVE_WRITABLE="on")
    assert (settings.database, settings.declarative_writable) == ("off", True)
    (problem,) = problems(GATEWAY_DECLARATIVE_WRITABLE="on")
    assert "on only with DATABASE=off and a file" in problem


# --- what a person is told ----------------------------------------------------------------------------


def test_all_problems_at_once() -> None:
    found = problems(
        GATEWAY_WORKER_PROCESSES="0",
        GATEWAY_LOG_LEVEL="loud",
        KONG_DATABASE="cassandra",
        KONG_NGINX_HTTP_CLIENT_MAX_BODY_SIZE="8q",
    )
    assert found == [
        "DATABASE = 'cassandra' (environment KONG_DATABASE); allowed: one of 'sqlite', 'postgres', 'off'",
        "WORKER_PROCESSES = '0' (environment GATEWAY_WORKER_PROCESSES); "
        "allowed: 'auto' (one per usable processor) or a whole number from 1 to 128",
        "CLIENT_MAX_BODY_SIZE = '8q' (environment KONG_NGINX_HTTP_CLIENT_MAX_BODY_SIZE); "
        "allowed: a size in bytes or with k, m or g ('8m'), from 0 to 1024g",
        "LOG_LEVEL = 'loud' (environment GATEWAY_LOG_LEVEL); allowed: one of 'debug', 'info', 'notice', "
        "'warn', 'error', 'crit', 'alert', 'emerg'",
    ]


def test_unknown_names_are_reported_with_the_nearest() -> None:
    settings = load(GATEWAY_PROXY_LISTN="x", GATEWAY_SERVICE_PORT_HTTP="80", GATEWAY_ZZZ="1")
    assert settings.warnings[0].startswith(
        "unknown setting GATEWAY_PROXY_LISTN; did you mean GATEWAY_PROXY_LISTEN?"
    )
    assert len(settings.warnings) == 3
    assert settings.warnings[2] == "unknown setting GATEWAY_ZZZ"


def test_unknown_flag_is_a_problem() -> None:
    with pytest.raises(SettingsError, match="unknown setting 'log_levl'; did you mean log_level"):
        load_settings(None, {}, {"log_levl": "debug"})


def test_kong_settings_without_meaning_are_named_once_without_their_values() -> None:
    settings = load(
        KONG_PG_RO_PASSWORD="secret-value",  # noqa: S106 - made up
        KONG_NGINX_HTTP_INCLUDE="x.conf",
        KONG_ADMIN_GUI_LISTEN="off",
    )
    (warning,) = settings.warnings
    for name in ("KONG_PG_RO_PASSWORD", "KONG_NGINX_HTTP_INCLUDE", "KONG_ADMIN_GUI_LISTEN"):
        assert name in warning
    assert "secret-value" not in warning


def test_conf_file_names(tmp_path: Path) -> None:
    conf = tmp_path / "kong.conf"
    conf.write_text(
        "pg_ro_host = db\nadmin_gui_listen = off\nproxy_lisen = off\nnginx_http_keepalive_timeout = 9s\n"
    )
    settings = load_settings(conf, {})
    assert settings.keepalive_timeout == 9.0
    assert f"unknown setting 'proxy_lisen' in {conf}, line 3; did you mean proxy_listen?" in settings.warnings
    assert any(line.endswith("ignored: pg_ro_host, admin_gui_listen") for line in settings.warnings)


def test_secrets_are_not_shown() -> None:
    settings = load(GATEWAY_DECLARATIVE_CONFIG_STRING="token: hunter2")
    assert "hunter2" not in repr(settings)
    assert settings.declarative_config_string == "token: hunter2"


def test_two_declarative_configurations() -> None:
    (problem,) = problems(GATEWAY_DECLARATIVE_CONFIG="/a.yml", KONG_DECLARATIVE_CONFIG_STRING="{}")
    assert "DECLARATIVE_CONFIG and DECLARATIVE_CONFIG_STRING are both set" in problem


# --- conf files ---------------------------------------------------------------------------------------


def test_conf_syntax(tmp_path: Path) -> None:
    conf = tmp_path / "a.conf"
    conf.write_text("# comment\n\n Log_Level=debug # more\nprefix = /a\\#b\nheaders =\nnode_id = 'x'\n")
    assert read_conf(conf) == {
        "log_level": ("debug", 3),
        "prefix": ("/a#b", 4),
        "headers": ("", 5),
        "node_id": ("x", 6),
    }


@pytest.mark.parametrize("content", ["log_level\n", "= x\n", "[section]\n"])
def test_bad_conf_syntax(tmp_path: Path, content: str) -> None:
    conf = tmp_path / "a.conf"
    conf.write_text(content)
    with pytest.raises(ConfError, match=r"a.conf:1: expected 'name = value'"):
        read_conf(conf)


def test_conf_that_is_not_text(tmp_path: Path) -> None:
    conf = tmp_path / "a.conf"
    conf.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfError, match="not UTF-8"):
        read_conf(conf)


# --- sources for a reload -----------------------------------------------------------------------------


def test_sources_are_recorded_for_the_owner(tmp_path: Path) -> None:
    sources = Sources.collect(None, {"GATEWAY_LOG_LEVEL": "warn", "HOME": "/root"}, {"PREFIX": str(tmp_path)})
    sources.record(tmp_path)
    assert (tmp_path / "settings.json").stat().st_mode & 0o777 == 0o600
    recorded = Sources.recorded(tmp_path)
    assert recorded == sources
    assert recorded
    assert recorded.environ == {"GATEWAY_LOG_LEVEL": "warn"}
    assert load_from(recorded).prefix == tmp_path
    assert list(tmp_path.iterdir()) == [tmp_path / "settings.json"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"conf": 1}'])
def test_unreadable_record(tmp_path: Path, content: str) -> None:
    (tmp_path / "settings.json").write_text(content)
    assert Sources.recorded(tmp_path) is None


def test_later_sources_lie_on_top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    older = Sources.collect(
        None, {"GATEWAY_LOG_LEVEL": "warn", "KONG_HEADERS": "off"}, {"send_timeout": "1s"}
    )
    monkeypatch.chdir(tmp_path)
    newer = Sources.collect(None, {"GATEWAY_LOG_LEVEL": "info"}, {"declarative_config": "k.yml"}).absolute()
    settings = load_from(older.overlaid(newer))
    assert (settings.log_level, settings.headers, settings.send_timeout) == ("info", frozenset(), 1.0)
    assert settings.declarative_config == tmp_path / "k.yml"


def test_prefix_is_found_beside_mistakes() -> None:
    assert find_prefix(None, {"GATEWAY_PREFIX": "/p", "GATEWAY_LOG_LEVEL": "loud"}, {}) == Path("/p")
    assert find_prefix(None, {"KONG_PREFIX": "/p"}, {"prefix": "/q"}) == Path("/q")


def test_changes_by_scope() -> None:
    changed = changed_settings(
        load(), load(GATEWAY_LOG_LEVEL="debug", GATEWAY_WORKER_PROCESSES="7", GATEWAY_MEM_CACHE_SIZE="9m")
    )
    assert changed == {
        Scope.LIVE: ["log_level"],
        Scope.WORKERS: ["worker_processes"],
        Scope.RESTART: ["mem_cache_size"],
    }
