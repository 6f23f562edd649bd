"""A strict reader of the Prometheus text format, for tests: refuses whatever the format does not allow."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)')
SAMPLE = re.compile(rf"({NAME})(?:\{{(.*)\}})? (\S+)")
HEADER = re.compile(rf"# (HELP|TYPE) ({NAME}) (.+)")
UNESCAPED = {r"\\": "\\", r"\"": '"', r"\n": "\n"}

Labels = tuple[tuple[str, str], ...]


@dataclass
class Family:
    """One metric: its type and its samples by sample name and labels."""

    kind: str = ""
    help: str = ""
    samples: dict[tuple[str, Labels], float] = field(default_factory=dict)

    def value(self, sample_name: str, **labels: str) -> float:
        """The value of the one sample with these labels (others may be there too)."""
        wanted = set(labels.items())
        found = [v for (name, own), v in self.samples.items() if name == sample_name and wanted <= set(own)]
        assert len(found) == 1, (sample_name, labels, list(self.samples))
        return found[0]


def parse(page: bytes) -> dict[str, Family]:
    """The families of a page by metric name; AssertionError for anything not allowed."""
    text = page.decode("utf-8")
    assert text.endswith("\n")
    families: dict[str, Family] = {}
    current = ""
    for line in text[:-1].split("\n"):
        if line.startswith("#"):
            header = HEADER.fullmatch(line)
            assert header, line
            word, name, rest = header.groups()
            if word == "HELP":
                assert name not in families, f"{name} appears twice"
                families[name] = Family(help=rest)
            else:
                assert name == current, f"TYPE without HELP: {line}"
                assert rest in ("counter", "gauge", "histogram", "untyped"), line
                families[name].kind = rest
            current = name
            continue
        sample = SAMPLE.fullmatch(line)
        assert sample, line
        name, label_text, number = sample.groups()
        family = families[current]
        assert family.kind, f"sample before TYPE: {line}"
        suffixes = ("_bucket", "_sum", "_count") if family.kind == "histogram" else ("",)
        assert name in {current + suffix for suffix in suffixes}, line
        key = (name, labels_of(label_text))
        assert key not in family.samples, f"repeated sample: {line}"
        family.samples[key] = float(number)
    for name, family in families.items():
        if family.kind == "histogram":
            check_histogram(name, family)
    return families


def labels_of(text: str | None) -> Labels:
    """The labels between the braces."""
    found: list[tuple[str, str]] = []
    at = 0
    while text and at < len(text):
        match = LABEL.match(text, at)
        assert match, text
        found.append((match[1], re.sub(r'\\["\\n]', lambda escape: UNESCAPED[escape[0]], match[2])))
        at = match.end()
    assert len({name for name, _ in found}) == len(found), text
    return tuple(found)


def check_histogram(name: str, family: Family) -> None:
    """Buckets rise, end with +Inf, and agree with _count; every series has a _sum."""
    series: dict[Labels, list[tuple[float, float]]] = {}
    for (sample, labels), value in family.samples.items():
        if sample == name + "_bucket":
            bound = float(dict(labels)["le"])
            rest = tuple(pair for pair in labels if pair[0] != "le")
            series.setdefault(rest, []).append((bound, value))
    for labels, buckets in series.items():
        assert buckets == sorted(buckets), (name, labels)
        assert buckets[-1][0] == float("inf"), (name, labels)
        assert buckets[-1][1] == family.samples[name + "_count", labels], (name, labels)
        assert (name + "_sum", labels) in family.samples
