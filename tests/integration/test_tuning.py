"""`gateway tune` beside a gateway that runs: it is found by its prefix, and its own settings count."""

from __future__ import annotations

import json

from tests.support.gateway import Gateway, one_service


def test_settings_are_those_of_the_running_gateway() -> None:
    with Gateway(one_service(1), keepalive_requests=7, upstream_keepalive_pool_size=3) as gateway:
        assert gateway.process is not None
        # an operator's shell that knows the prefix and nothing else
        bare = Gateway()
        bare.settings = {"prefix": gateway.prefix}
        found = json.loads(bare.run_command("tune", "--json").stdout)
        assert found["gateway"] == {"pid": gateway.process.pid, "workers": 1}
        advice = {one["name"]: one for one in found["advice"]}
        assert (advice["keepalive_requests"]["current"], advice["keepalive_requests"]["wanted"]) == (
            "7",
            "10000",
        )
        assert advice["upstream_keepalive_pool_size"]["current"] == "3"
        assert advice["open files"]["current"].endswith("(running worker)")
        shown = bare.run_command("tune")
        assert f"the gateway that runs in {gateway.prefix} (pid {gateway.process.pid})" in shown.stdout
        bare.directory.cleanup()
    gone = Gateway()
    assert json.loads(gone.run_command("tune", "--json").stdout)["gateway"] is None
    gone.directory.cleanup()
