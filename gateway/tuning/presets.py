"""Files that carry advice: an environment file, a sysctl.d file, a systemd drop-in, a limits.d file.

python -m gateway.tuning.presets tuning      # what `make docs` runs: a directory for each profile
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from gateway.tuning.advice import Advice
from gateway.tuning.kernel_rules import PORTS
from gateway.tuning.profiles import PROFILES, Profile
from gateway.tuning.rules import Area, Verdict

MARK = "# Written by gateway tune."
"""first words of every file of ours; one without them is somebody else's and is never touched"""
ENVIRONMENT, SYSCTL, DROP_IN, LIMITS = "gateway.env", "sysctl.conf", "systemd.conf", "limits.conf"
HEADS = {
    ENVIRONMENT: "Settings: EnvironmentFile= in a unit, docker run --env-file, or `set -a; . gateway.env`.",
    SYSCTL: "Kernel settings: copy to /etc/sysctl.d/90-sluicegate.conf, then `sysctl --system`.",
    DROP_IN: "Copy to /etc/systemd/system/sluicegate.service.d/tuning.conf, then `systemctl daemon-reload`.",
    LIMITS: "For logins without systemd: copy to /etc/security/limits.d/90-sluicegate.conf.",
}


def profile_files(profile: Profile) -> dict[str, str]:
    """What a size of machine gets, whatever the machine: file name -> content."""
    settings = {f"GATEWAY_{name.upper()}": value for name, value in profile.settings.items()}
    kernel = {"net.core.somaxconn": str(profile.accept_queue)}
    if profile.many_connections:
        kernel["net.ipv4.ip_local_port_range"] = "{} {}".format(*PORTS)
        kernel["net.ipv4.tcp_tw_reuse"] = "1"
    about = f"{profile.name}: {profile.meant_for}."
    return _files(about, settings, kernel, str(profile.descriptors), [])


def fitted_files(profile: Profile, advice: Sequence[Advice]) -> dict[str, str]:
    """The changes that are advised for this machine; what to consider stands there as a comment."""
    found = [one for one in advice if one.verdict is Verdict.CHANGE and one.wanted is not None]
    settings = {f"GATEWAY_{one.name.upper()}": str(one.wanted) for one in found if one.area is Area.SETTING}
    kernel = {one.name: str(one.wanted) for one in found if one.area is Area.KERNEL}
    files = next((one.wanted for one in found if one.name == "open files"), None)
    return _files(f"For this machine, by the profile {profile.name}.", settings, kernel, files, advice)


def _files(
    about: str,
    settings: Mapping[str, str],
    kernel: Mapping[str, str],
    descriptors: str | None,
    advice: Sequence[Advice],
) -> dict[str, str]:
    considered = [one for one in advice if one.verdict is Verdict.CONSIDER and one.wanted is not None]
    files = {
        ENVIRONMENT: _assignments(settings, "=")
        + [
            f"# consider: GATEWAY_{one.name.upper()}={one.wanted}"
            for one in considered
            if one.area is Area.SETTING
        ],
        SYSCTL: _assignments(kernel, " = ")
        + [f"# consider: {one.name} = {one.wanted}" for one in considered if one.area is Area.KERNEL],
    }
    if descriptors is not None:
        files[DROP_IN] = [
            "[Service]",
            f"LimitNOFILE={descriptors}",
            "EnvironmentFile=-/etc/gateway/gateway.env",
        ]
        files[LIMITS] = [f"{who} - nofile {descriptors}" for who in ("*", "root")]
    return {name: content(name, about, lines) for name, lines in files.items()}


def content(name: str, about: str, lines: Sequence[str]) -> str:
    """A file of ours with its head."""
    return "\n".join([MARK, f"# {about}", f"# {HEADS[name]}", "", *(lines or ["# nothing to change"]), ""])


def _assignments(values: Mapping[str, str], equals: str) -> list[str]:
    return [f"{name}{equals}{value}" for name, value in values.items()]


def parse_assignments(text: str) -> dict[str, str]:
    """The assignments of an environment or sysctl file; comments are left out."""
    found = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.lstrip().startswith("#"):
            found[name.strip()] = value.strip()
    return found


def main(directory: Path) -> None:
    """Write the files of every profile."""
    for profile in PROFILES.values():
        (directory / profile.name).mkdir(exist_ok=True)
        for name, text in profile_files(profile).items():
            (directory / profile.name / name).write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
