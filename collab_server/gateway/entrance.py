"""What every WebSocket passes before a dialect sees it: is there room, whose page is it, is it too much?

The order is by cost, and so that a refusal tells least: a node that has too much to do says only that.
"""

from __future__ import annotations

from collections.abc import Callable

from collab_server.access.addresses import Addresses, AddressFault
from collab_server.access.callers import Callers, network_of
from collab_server.access.origins import Origins
from collab_server.errors import BusyError, FloodError, RefusedError
from collab_server.gateway.handshake import Request
from collab_server.gateway.upgrade import HandlerFactory
from collab_server.gateway.websocket import SocketHandler
from collab_server.telemetry.metrics import Metrics, Refusal

_REFUSALS = {
    AddressFault.CONNECTIONS: Refusal.ADDRESS_CONNECTIONS,
    AddressFault.RATE: Refusal.ADDRESS_RATE,
}


class Entrance:
    """Judges an upgrade request, fills in ``request.caller``, and hands it to the dialects.

    It is the transport's handler factory, and ``gone`` is to be called at the end of each connection.
    Programs on this machine count for no address: limits by address are for the network.
    """

    def __init__(
        self,
        inner: HandlerFactory,
        callers: Callers,
        origins: Origins,
        addresses: Addresses,
        metrics: Metrics,
        *,
        is_overloaded: Callable[[], bool] = lambda: False,
        clock: Callable[[], float],
    ) -> None:
        self._inner = inner
        self._callers = callers
        self._origins = origins
        self._addresses = addresses
        self._metrics = metrics
        self._is_overloaded = is_overloaded
        self._clock = clock

    def __call__(self, request: Request) -> SocketHandler:
        """The dialect's handler. Raises PeerError, which the client is told as a close code."""
        if self._is_overloaded():
            self._metrics.count_refused(Refusal.OVERLOADED)
            raise BusyError("overloaded; come back later")
        peer = request.remote_address[0] if request.remote_address is not None else None
        request.caller = caller = self._callers.caller(peer, request.headers.all)
        if (fault := self._origins.fault(caller)) is not None:
            self._metrics.count_refused(Refusal.ORIGIN)
            raise RefusedError(fault)
        if not caller.is_loopback:
            network = network_of(caller.address)
            if (address_fault := self._addresses.enter(network, self._clock())) is not None:
                self._metrics.count_refused(_REFUSALS[address_fault])
                raise FloodError(address_fault.value)
            request.counted_as = network
        return self._inner(request)

    def gone(self, request: Request) -> None:
        """The connection of a request is gone."""
        if request.counted_as is not None:
            self._addresses.leave(request.counted_as)
            request.counted_as = None
