"""bot-detection: clients that their User-Agent shows to be programs are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from gateway.entities.fields import Array, Text
from gateway.entities.record import Record
from gateway.plugins import PluginDefinition
from native.steps import bot_detection

from ._fields import NO_CONSUMER

if TYPE_CHECKING:
    from gateway.entities.plugins import Plugin


BUILT_IN = (
    # libraries and tools that tell their own name first
    r"^(?:Apache-HttpClient|Go-http-client|Python-urllib|JNLP|WinHTTP|aihttp|axios|okhttp|reqwest|scalaj-http"
    r"|unirest-[a-z]+)(?![A-Za-z])",
    # what calls itself a bot by name ("Googlebot", not "bot"); telephones of Cubot are none
    r"(?i)\b(?!cubot)[a-z0-9][a-z0-9._-]+bot\b",
    r"(?i)spider|crawl|scrape",
    # crawlers, previews and monitors by other names
    r"AppEngine-Google|BingPreview|Feedfetcher|Google-Site-Verification|HTTrack|Mediapartners-Google|NING/"
    r"|Pingdom|Slurp|StatusCake|facebookexternalhit|ia_archiver",
)
PATTERN = Text("A regular expression, found anywhere in User-Agent.", is_regex=True)


class BotDetectionConfig(Record, frozen=True, kw_only=True):
    """What counts before the patterns that are built in; `allow` before `deny`."""

    allow: Annotated[list[str] | None, Array("Clients that may pass.", elements=PATTERN)] = msgspec.field(
        default_factory=list
    )
    deny: Annotated[list[str] | None, Array("Clients that may not pass.", elements=PATTERN)] = msgspec.field(
        default_factory=list
    )


def pack(config: BotDetectionConfig, _plugin: Plugin) -> bytes:
    """The form that native/steps/bot_detection.pyx reads."""
    return bot_detection.pack_config(
        allow=config.allow or [], deny=config.deny or [], built_in=list(BUILT_IN)
    )


PLUGIN = PluginDefinition("bot-detection", BotDetectionConfig, NO_CONSUMER, priority=2500, pack=pack)
