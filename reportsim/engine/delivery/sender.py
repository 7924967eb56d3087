"""Sending a callback: its body, its signed headers and its target, for one attempt."""

import asyncio
from collections.abc import Callable, Sequence

from reportsim.core import signing, tracing
from reportsim.core.callback_policy.urls import CallbackTarget, OwnReceiver, Refusal, resource_of
from reportsim.core.clock import Clock
from reportsim.core.identifiers import Entropy
from reportsim.core.json import dumps
from reportsim.core.model import Request, callback_event
from reportsim.engine.delivery.attempt import AttemptResult, Reason, attempt
from reportsim.engine.delivery.http_client import Client
from reportsim.engine.delivery.ssrf_guard import SsrfGuard


class CallbackSender:
    """Sends the callbacks of ended requests."""

    def __init__(
        self,
        guard: SsrfGuard,
        *,
        timeout: float,
        clock: Clock,
        base_url: Callable[[], str],
        demo: Callable[[], OwnReceiver | None],
    ) -> None:
        """Sends with a timeout of its own for each attempt; `demo` is where this replica's demo receiver listens."""
        self._guard = guard
        self._timeout = timeout
        self._clock = clock
        self._base_url = base_url
        self._demo = demo
        self._entropy = Entropy()
        self.secrets: Sequence[bytes] = ()

    def base_of(self, request: Request) -> str:
        """The base URL of a callback's links: that of its first attempt, wherever the service listens now."""
        return request.callback_base or self._base_url()

    async def send(self, client: Client, request: Request, *, known: bool) -> AttemptResult:
        """Makes one attempt; `known` says that the destination answered lately.

        Raises:
            ResourceShortage: there was no attempt.
        """
        body = dumps(callback_event(request, self.base_of(request)))
        target = self._target(request)
        if isinstance(target, Refusal):
            await asyncio.sleep(0)  # many in a row must not hold up others
            message = f"{target.reason}: {target.detail}"
            return AttemptResult(
                success=False, reason=Reason.REFUSED, error_message=message, response_time_ms=0, final=True
            )
        now = self._clock.now()
        headers = signing.headers(self.secrets, message_id(request), int(now.timestamp()), body)
        headers["webhook-attempt"] = str(request.callback_attempts + 1)
        if request.traceparent:
            headers["traceparent"] = tracing.child(request.traceparent, self._entropy)
        return await attempt(client, target, body, headers, timeout=self._timeout, now=now, known=known)

    def _target(self, request: Request) -> CallbackTarget | Refusal:
        """The demo receiver of the replica that delivers, or the URL as it was given."""
        url = request.callback_url or ""
        demo = self._demo()
        if request.callback_demo:
            if demo is None:
                return Refusal("own-route", "This replica has no demo receiver.")
            url = demo_url(demo, resource_of(url))
        return self._guard.check_url(url)


def message_id(request: Request) -> str:
    """The `webhook-id`: one for all attempts of a request, in all its series; a resend is the same message."""
    return f"msg_{request.id.hex}_1"


def demo_url(receiver: OwnReceiver, path: str) -> str:
    """A path of the demo receiver as the URL that this replica calls."""
    host = f"[{receiver.address}]" if receiver.address.version == 6 else str(receiver.address)
    return f"{receiver.scheme}://{host}:{receiver.port}{path}"
