"""What a request is refused with: an HTTP status and one sentence."""

from __future__ import annotations

from http import HTTPStatus

from diffwave.base.errors import InputError


class Refusal(InputError):
    """A request that is not answered with speech; what is wrong with it, or that there is no room.

    The answer is a problem of RFC 9457, `{"title": .., "status": .., "detail": sentence}`.
    """

    def __init__(
        self, status: int, sentence: object, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(sentence)
        self.status, self.headers = HTTPStatus(status), headers or {}


def problem(status: int, sentence: str) -> dict[str, str | int]:
    """A problem of RFC 9457 that has no type but its status."""
    return {"title": HTTPStatus(status).phrase, "status": int(status), "detail": sentence}
