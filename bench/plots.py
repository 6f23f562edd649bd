"""Bars as inline SVG, drawn for the width of a phone, so that text is never smaller than there."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

WIDTH = 360.0
BAR_HEIGHT = 14.0
BAR_GAP = 4.0
LABEL_HEIGHT = 18.0
GROUP_GAP = 10.0
# Space on the right for the number behind the longest bar.
VALUE_WIDTH = 78.0


@dataclass(frozen=True)
class Bar:
    """A median as a bar, with a line from the smallest to the largest round and a dot for each round."""

    style: str  # CSS class: "before" or "after"
    name: str
    median: float
    low: float
    high: float
    rounds: list[float]
    text: str


@dataclass(frozen=True)
class Group:
    """The bars of one lane under its name."""

    label: str
    bars: list[Bar]


def bar_chart(title: str, groups: list[Group]) -> str:
    """An `<svg>` whose accessible description says every number in it."""
    largest = max((max(bar.high, bar.median) for group in groups for bar in group.bars), default=0.0)
    scale = (WIDTH - VALUE_WIDTH) / largest if largest > 0 else 0.0
    y = 0.0
    parts: list[str] = []
    spoken: list[str] = []
    for group in groups:
        parts.append(f'<text class="lane" x="0" y="{y + 12:.1f}">{escape(group.label)}</text>')
        y += LABEL_HEIGHT
        for bar in group.bars:
            parts.append(_bar(bar, y, scale))
            spoken.append(f"{group.label}, {bar.name}: {bar.text}")
            y += BAR_HEIGHT + BAR_GAP
        y += GROUP_GAP
    height = max(y - GROUP_GAP, 1.0)
    return (
        f'<svg viewBox="0 0 {WIDTH:.0f} {height:.0f}" role="img" '
        f'aria-label="{escape(title + ". " + "; ".join(spoken), quote=True)}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )


def _bar(bar: Bar, y: float, scale: float) -> str:
    middle = y + BAR_HEIGHT / 2
    end = max(bar.median * scale, 1.0)
    text_at = max(end, bar.high * scale) + 6
    dots = "".join(
        f'<circle class="round" cx="{max(value * scale, 0.0):.1f}" cy="{middle:.1f}" r="1.8"/>'
        for value in bar.rounds
    )
    return (
        f'<rect class="{bar.style}" x="0" y="{y:.1f}" width="{end:.1f}" height="{BAR_HEIGHT:.0f}" rx="2"/>'
        f'<line class="spread" x1="{max(bar.low * scale, 0.0):.1f}" x2="{max(bar.high * scale, 0.0):.1f}" '
        f'y1="{middle:.1f}" y2="{middle:.1f}"/>'
        f"{dots}"
        f'<text class="value" x="{text_at:.1f}" y="{middle + 4:.1f}">{escape(bar.text)}</text>'
    )
