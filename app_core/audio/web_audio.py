"""Listening without Icecast: ``GET /listen/{channel}.mp3``, ``.opus`` or ``.wav``, and ``GET /listen`` for the list.

A thread of its own runs uvicorn and a Starlette application. It listens on the loopback interface unless told
otherwise, and sends no CORS header: pages of other origins may not read it. So that a page cannot make its own name
point here and become the same origin, a request must be for an address, for this machine's name or for one that is
allowed. Buffers are kept small, so that who listens
hears the present: 2 s in a listener's queue, and about `SOCKET_BYTES` each in uvicorn and in the kernel. A client that
takes nothing for `STALLED_AFTER_S` is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Protocol

import uvicorn
from pydantic import BaseModel, ConfigDict, Field
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from app_core.audio.broadcast_queue import WEB_LONGEST_S, BroadcastQueue
from app_core.audio.live_stream import FORMATS, Listener, LiveStream
from app_core.base.errors import LinkError
from app_core.base.lifecycle import Worker

log = logging.getLogger(__name__)

STALLED_AFTER_S = 10.0
"""Time without a byte taken after which a client is dropped. [seconds]"""

SOCKET_BYTES = 16_384
"""What waits in uvicorn, and in the kernel (which doubles it), for one client: 2 s of MP3 at 64 kbit/s."""

_LOOK_EVERY_S = 0.2
_HEADERS = {"cache-control": "no-store", "accept-ranges": "none", "x-content-type-options": "nosniff"}


class WebAudioSettings(BaseModel):
    """The ``[web_audio]`` table.

    Attributes
    ----------
    host, port
        Where to listen; port 0 takes a free one.
    max_clients
        Listeners at once.
    longest_s
        What a listener may lag before it loses audio. [seconds]
    mp3_kbps, opus_kbps
        [kbit/s]
    allowed_hosts
        Names beside this machine's own by which listeners may ask for it: of a proxy before it, for example.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8081
    max_clients: Annotated[int, Field(ge=1, le=1000)] = 20
    longest_s: Annotated[float, Field(ge=0.5, le=30.0)] = WEB_LONGEST_S
    mp3_kbps: Annotated[int, Field(ge=8, le=160)] = 64
    opus_kbps: Annotated[int, Field(ge=6, le=256)] = 32
    allowed_hosts: tuple[str, ...] = ()


class Feed(Protocol):
    """Where the audio of every source comes from."""

    def queue(self, channel_id: str) -> BroadcastQueue:
        """Give the queue of one source, which need not have audio yet."""
        ...


class WebAudio(Worker):
    """The HTTP server of the stream job.

    Parameters
    ----------
    feed
        Where the audio comes from.
    entries
        Gives what ``audio:metrics`` says of each channel that there is, by id.
    settings
        Where to listen, and for how many.
    uses_re
        Says whether the FFmpeg that encodes a channel reads at the native rate, from its id and its entry.

    Attributes
    ----------
    port
        Where it listens; None before it does.
    """

    def __init__(
        self,
        feed: Feed,
        entries: Callable[[], Mapping[str, Mapping[str, Any]]],
        settings: WebAudioSettings,
        uses_re: Callable[[str, Mapping[str, Any]], bool] = lambda channel_id, entry: False,
    ) -> None:
        super().__init__("WebAudio")
        self.settings = settings
        self.port: int | None = None
        self._feed = feed
        self._entries = entries
        self._uses_re = uses_re
        self._streams: dict[tuple[str, str], LiveStream] = {}
        self._transports: dict[tuple[str, int], asyncio.Transport] = {}
        self._served_count = self._refused_count = self._stalled_count = 0
        own = socket.gethostname()
        names = ("localhost", own, f"{own}.local", settings.host, *settings.allowed_hosts)
        self._names = frozenset(name.lower().rstrip(".") for name in names)
        self._app = Starlette(
            routes=[Route("/listen", self._list), Route("/listen/{file}", self._listen)],
            exception_handlers={404: _not_found},
        )

    @property
    def client_count(self) -> int:
        """Who listens now."""
        return sum(len(stream.listeners) for stream in list(self._streams.values()))

    def status(self) -> dict[str, Any]:
        """Give where it listens, and who listens to what."""
        return {
            "address": "" if self.port is None else f"http://{_in_url(self.settings.host)}:{self.port}/listen",
            "error": "" if self.failure is None else str(self.failure),
            "clients": self.client_count,
            "max_clients": self.settings.max_clients,
            "served_count": self._served_count,
            "refused_count": self._refused_count,
            "stalled_count": self._stalled_count,
            "streams": {stream.name: stream.status() for stream in list(self._streams.values())},
        }

    def run(self, stopping: threading.Event) -> None:
        """Serve until stopped.

        Raises
        ------
        LinkError
            If the address cannot be listened on.
        """
        listener = self._listen_on()
        self.port = int(listener.getsockname()[1])
        log.info("listen at %s", self.status()["address"])
        try:
            asyncio.run(self._serve(listener, stopping))
        finally:
            self.port = None
            listener.close()
            for stream in self._streams.values():
                stream.end()

    def _listen_on(self) -> socket.socket:
        host, port = self.settings.host, self.settings.port
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            listener = socket.create_server((host, port), family=family)
        except OSError as error:
            reason = error.strerror or str(error)
            raise LinkError(f"[web_audio]: cannot listen on {host}:{port}: {reason}") from error
        # A connection takes it over from here; it has to be set before it is made.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
        return listener

    async def _serve(self, listener: socket.socket, stopping: threading.Event) -> None:
        config = uvicorn.Config(
            self._app,
            http=self._protocol(),
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=1,
            limit_concurrency=2 * self.settings.max_clients + 20,
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not stopping.is_set() and not serving.done():
            self._look_after()
            await asyncio.sleep(_LOOK_EVERY_S)
        for stream in self._streams.values():
            stream.end()
        server.should_exit = True
        await serving

    def _protocol(self) -> type[H11Protocol]:
        """Give uvicorn's protocol with a small buffer, and with a way to cut a connection that takes nothing."""
        transports = self._transports

        class Protocol(H11Protocol):
            def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
                transport.set_write_buffer_limits(high=SOCKET_BYTES)
                super().connection_made(transport)
                if self.client is not None:
                    transports[self.client] = transport

            def connection_lost(self, exc: Exception | None) -> None:
                super().connection_lost(exc)
                if self.client is not None:
                    transports.pop(self.client, None)

        return Protocol

    def _look_after(self) -> None:
        """Let streams go that nobody hears, or that are no longer encoded; their listeners may come again."""
        for key, stream in list(self._streams.items()):
            if not stream.listeners or not stream.is_alive:
                del self._streams[key]
                stream.end()

    def _misdirected(self, request: Request) -> Response | None:
        """Give the answer to a request that is for another machine's name; None where it is for us."""
        name = _host_name(request.headers.get("host", ""))
        if not name or name in self._names or _is_address(name):
            return None
        text = f"nobody is called {name!r} here; put the name into allowed_hosts of [web_audio] if it is yours"
        return _words(421, text)

    async def _list(self, request: Request) -> Response:
        if (misdirected := self._misdirected(request)) is not None:
            return misdirected
        listening = {key: len(stream.listeners) for key, stream in self._streams.items()}
        channels = [
            {
                "id": channel_id,
                "name": entry.get("name") or channel_id,
                "running": bool(entry.get("running")),
                "source_type": entry.get("source_type", "sdr"),
                "frequency_hz": entry.get("frequency_hz"),
                "listeners": sum(count for (listened, _), count in listening.items() if listened == channel_id),
                "urls": {extension: f"/listen/{channel_id}.{extension}" for extension in FORMATS},
            }
            for channel_id, entry in self._entries().items()
        ]
        body = {"channels": channels, "listeners": self.client_count, "max_clients": self.settings.max_clients}
        return JSONResponse(body, headers={"cache-control": "no-store"})

    async def _listen(self, request: Request) -> Response:
        if (misdirected := self._misdirected(request)) is not None:
            return misdirected
        channel_id, _, extension = str(request.path_params["file"]).rpartition(".")
        form, entry = FORMATS.get(extension), self._entries().get(channel_id)
        if entry is None:
            return _words(404, f"there is no channel {channel_id!r}; GET /listen lists those that there are")
        if form is None:
            return _words(404, f"there is no format {extension!r}; there are {', '.join(FORMATS)}")
        headers = {**_HEADERS, "content-type": form.content_type}
        if request.method == "HEAD":
            head = Response(headers=headers)
            del head.headers["content-length"]  # a stream has no length
            return head
        if self.client_count >= self.settings.max_clients:
            self._refused_count += 1
            text = f"{self.client_count} listen already, and [web_audio] max_clients allows no more; try again later"
            return _words(503, text, {"retry-after": "10"})
        key = (channel_id, extension)
        stream = self._streams.get(key)
        if stream is None or not stream.is_alive:
            if stream is not None:
                stream.end()
            bitrate_kbps = {"mp3": self.settings.mp3_kbps, "opus": self.settings.opus_kbps}.get(extension)
            stream = self._streams[key] = LiveStream(
                channel_id,
                form,
                self._feed.queue(channel_id),
                self.settings.longest_s,
                bitrate_kbps=bitrate_kbps,
                re_flag=extension != "wav" and self._uses_re(channel_id, entry),
            )
        self._served_count += 1
        return _LiveResponse(stream, stream.join(), headers, self._drop)

    def _drop(self, client: tuple[str, int] | None) -> None:
        """Cut the connection of a client that takes nothing; what waits for it is let go."""
        self._stalled_count += 1
        log.info("a listener has taken nothing for %.0f s and is dropped", STALLED_AFTER_S)
        transport = None if client is None else self._transports.get(client)
        if transport is not None:
            transport.abort()


class _LiveResponse(Response):
    """A body that does not end by itself."""

    def __init__(
        self,
        stream: LiveStream,
        listener: Listener,
        headers: Mapping[str, str],
        drop: Callable[[tuple[str, int] | None], None],
    ) -> None:
        super().__init__(headers=headers)
        del self.headers["content-length"]
        self._stream = stream
        self._listener = listener
        self._drop = drop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        watching = asyncio.create_task(self._watch(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async for piece in self._listener.pieces():
                body = {"type": "http.response.body", "body": piece, "more_body": True}
                await asyncio.wait_for(send(body), STALLED_AFTER_S)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            self._drop(scope.get("client"))
        finally:
            self._stream.leave(self._listener)
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching

    async def _watch(self, receive: Receive) -> None:
        """End the queue when the client is gone."""
        while (await receive())["type"] != "http.disconnect":
            pass
        self._listener.end()


def _words(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    return PlainTextResponse(text + "\n", status, {"cache-control": "no-store", **(headers or {})})


async def _not_found(request: Request, error: Exception) -> Response:
    return _words(404, "GET /listen lists what can be heard here")


def _host_name(host: str) -> str:
    """Give the name or the address of a ``Host`` header, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower().rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
