# SPDX-License-Identifier: MIT
"""Requests to ROS services that are made again until they are answered."""

from __future__ import annotations

import time
from typing import Any


class Asked:
    """A request: a server answers no client that it has not discovered yet, and may be new itself.

    It may arrive more than once, so what it asks for should be the same when done twice.
    """

    def __init__(self, client: Any, request: Any, again_s: float = 5.0) -> None:
        """Ask through `client`, whose node somebody spins.

        Args:
            client: Of a service.
            request: What is asked.
            again_s: Time after which an answer is taken for lost [s].
        """
        self._client, self._request, self._again_s = client, request, again_s
        self._began_s = time.monotonic()
        self._futures = [client.call_async(request)]

    def done(self) -> bool:
        """Whether there is an answer; asks again when it is time to."""
        if len(self._futures) < 1 + (time.monotonic() - self._began_s) // self._again_s:
            self._futures.append(self._client.call_async(self._request))
        return any(future.done() for future in self._futures)

    def result(self) -> Any:
        """The first answer."""
        return next(future.result() for future in self._futures if future.done())
