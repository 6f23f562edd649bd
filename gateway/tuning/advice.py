"""Going through the rules: one piece of advice for each that applies."""

from dataclasses import asdict, dataclass
from typing import Any

from gateway.settings import DECLARATIONS, Scope
from gateway.tuning.kernel_rules import KERNEL_RULES
from gateway.tuning.machine_rules import MACHINE_RULES
from gateway.tuning.rules import Area, CannotTellError, Case, Rule, Situation, Verdict
from gateway.tuning.settings_rules import SETTINGS_RULES

RULES: tuple[Rule, ...] = (*SETTINGS_RULES, *MACHINE_RULES, *KERNEL_RULES)

EFFECT = {
    Scope.LIVE: "at a reload",
    Scope.WORKERS: "at a reload",
    Scope.RESTART: "at a restart",
}


@dataclass(frozen=True)
class Advice:
    """What to do about one thing."""

    area: Area
    name: str
    current: str | None
    """None: it cannot be read here"""
    wanted: str | None
    """None: nothing to set"""
    verdict: Verdict
    reason: str
    source: str
    effect: str
    """when a change takes effect"""

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def advise(situation: Situation, rules: tuple[Rule, ...] = RULES) -> list[Advice]:
    """What each rule that applies says, in the order of the rules."""
    return [_advice(rule, situation) for rule in rules if rule.applies(situation)]


def _advice(rule: Rule, situation: Situation) -> Advice:
    current = _current(rule, situation)

    def said(verdict: Verdict, wanted: str | None, reason: str) -> Advice:
        return Advice(rule.area, rule.name, current, wanted, verdict, reason, rule.source, _effect(rule))

    try:
        case = next((case for case in rule.cases if case.when(situation)), None)
        if case is None:
            return said(Verdict.KEEP, None, rule.otherwise)
        return said(case.verdict, _wanted(case, situation), case.reason(situation))
    except CannotTellError as error:
        return said(Verdict.UNKNOWN, None, f"{error} cannot be read here")


def _wanted(case: Case, situation: Situation) -> str | None:
    return None if case.wanted is None else case.wanted(situation)


def _current(rule: Rule, situation: Situation) -> str | None:
    facts = situation.facts
    if rule.area is Area.SETTING:
        text = situation.settings.texts[rule.name]
        value = getattr(situation.settings, rule.name)
        return f"auto ({value})" if text == "auto" and isinstance(value, int) else text
    if rule.area is Area.KERNEL:
        return facts.sysctls.get(rule.name)
    return {
        "open files": _files(situation),
        "processes (cgroup)": str(facts.limits.processes),
        "processors": f"{facts.usable_processors:g} of {facts.processors_present}",
        "memory": None if facts.usable_memory is None else f"{facts.usable_memory >> 20} MiB",
        "transparent huge pages": facts.huge_pages,
        "frequency governor": ", ".join(sorted(facts.governors)),
        "NUMA": f"{len(facts.nodes)} node{'s' if len(facts.nodes) != 1 else ''}",
    }[rule.name]


def _files(situation: Situation) -> str:
    hard = situation.facts.open_files_hard
    running = situation.running
    if running is not None and running.open_files is not None:
        return f"{running.open_files} (running worker)"
    return "no limit" if hard is None else str(hard)


def _effect(rule: Rule) -> str:
    if rule.area is Area.SETTING:
        return EFFECT[DECLARATIONS[rule.name].scope]
    return {Area.KERNEL: "at once", Area.LIMIT: "at a restart", Area.MACHINE: "at once"}[rule.area]
