# SPDX-License-Identifier: MIT
"""Requests to ROS services that are repeated until they are answered."""

from __future__ import annotations

import time
from typing import Any


class RetriedRequest:
    """A request that is repeated: a server answers no client that it has not discovered yet.

    It may arrive more than once, so it must be one that may be done twice.
    """

    def __init__(self, client: Any, request: Any, again_s: float = 5.0) -> None:
        """Send the request through `client`; the caller spins its node.

        Args:
            client: Of a service.
            request: The request.
            again_s: Time after which an answer counts as lost [s].
        """
        self._client, self._request, self._again_s = client, request, again_s
        self._began_s = time.monotonic()
        self._futures = [client.call_async(request)]

    def done(self) -> bool:
        """Whether there is an answer; repeats the request when it is time to."""
        if len(self._futures) < 1 + (time.monotonic() - self._began_s) // self._again_s:
            self._futures.append(self._client.call_async(self._request))
        return any(future.done() for future in self._futures)

    def result(self) -> Any:
        """The first answer."""
        return next(future.result() for future in self._futures if future.done())
