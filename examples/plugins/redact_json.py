"""redact-json: fields of JSON responses that not every client may see.

    plugins:
    - name: redact-json
      config:
        fields: [password, card_number, address.street]
        replacement: "***"
        except_consumers: [back-office]

A name without dots is replaced wherever it occurs, one with dots only at that place. Lists are looked
through.
"""

from typing import Annotated, Any

import msgspec

from gateway.pdk import Plugin, Request, Response


class RedactJson(Plugin):
    """Changes the body of responses before anything of it is sent."""

    priority = 700
    buffer_response = True

    class Config(msgspec.Struct):
        fields: Annotated[list[str], msgspec.Meta(min_length=1, description="Which are replaced.")]
        replacement: Annotated[str | None, msgspec.Meta(description="By what; null is possible.")] = None
        except_consumers: Annotated[
            list[str], msgspec.Meta(description="User names of consumers who see everything.")
        ] = []

    config: Config

    def setup(self) -> None:
        self.anywhere = {name for name in self.config.fields if "." not in name}
        self.places = [name.split(".") for name in self.config.fields if "." in name]

    def access(self, request: Request) -> None:
        """A compressed body could not be read."""
        request.headers.remove("Accept-Encoding")

    def response(self, request: Request, response: Response) -> None:
        consumer = request.consumer
        if consumer is not None and consumer.username in self.config.except_consumers:
            return
        if "json" not in response.headers.get("Content-Type", "") or not response.body:
            return
        try:
            document = response.json()
        except ValueError:
            self.logger.warn(f"{request.path}: a body that calls itself JSON is none")
            response.body = b"null"  # rather nothing than what nobody has looked at
            return
        for place in self.places:
            self.redact_at(document, place)
        response.body = msgspec.json.encode(self.redacted(document))
        response.headers.remove("ETag")

    def redacted(self, value: Any) -> Any:
        """A value without the fields that are replaced wherever they occur."""
        if isinstance(value, list):
            return [self.redacted(element) for element in value]
        if isinstance(value, dict):
            return {
                name: self.config.replacement if name in self.anywhere else self.redacted(inner)
                for name, inner in value.items()
            }
        return value

    def redact_at(self, value: Any, place: list[str]) -> None:
        """Replace what is at a place (in place)."""
        if isinstance(value, list):
            for element in value:
                self.redact_at(element, place)
        elif isinstance(value, dict) and place[0] in value:
            if len(place) == 1:
                value[place[0]] = self.config.replacement
            else:
                self.redact_at(value[place[0]], place[1:])
