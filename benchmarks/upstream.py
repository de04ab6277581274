"""The fake provider: answers chat completions with bytes made beforehand. `python upstream.py PORT`.

A stream that is not paced leaves in one write of 100 HTTP chunks. A paced one sends its first event at once and
the others from a wheel of slots, one millisecond each, that all streams share: a timer per stream would cost
more than the stream. GET /stats tells what it saw, for the probes.
"""

import asyncio
import gc
import json
import os
import sys
from time import perf_counter

import uvloop
from wire import HUGE_BYTES, PACE, STREAM_HEAD, frame, huge_frame, json_answer, stream_frames

JSON_ANSWER = json_answer()
FRAMES = {asked: stream_frames(asked) for asked in (False, True)}
WHOLE = {asked: STREAM_HEAD + b"".join(frames) for asked, frames in FRAMES.items()}
FIRST = {asked: STREAM_HEAD + frames[0] for asked, frames in FRAMES.items()}
HUGE_FRAME = huge_frame()

SLOTS = 20
SLOT_SECONDS = PACE / SLOTS

seen = {"requests": 0, "open_streams": 0, "finished_streams": 0, "aborted_streams": 0, "last_abort_at": 0.0}


class Wheel:
    """Streams by the slot in which their next event is due; one turn is the pace."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.slots: list[list[Provider]] = [[] for _ in range(SLOTS)]
        self.turned = 0  # slots passed since the start
        self.began = loop.time()
        self.tick()

    def add(self, stream: "Provider") -> None:
        self.slots[(self.turned - 1) % SLOTS].append(stream)  # the slot that passed last comes in one turn

    def tick(self) -> None:
        due = int((self.loop.time() - self.began) / SLOT_SECONDS)
        while self.turned < due:
            slot = self.slots[self.turned % SLOTS]
            if slot:
                self.slots[self.turned % SLOTS] = [stream for stream in slot if stream.send_next()]
            self.turned += 1
        self.loop.call_later(SLOT_SECONDS, self.tick)


class Provider(asyncio.Protocol):
    """One connection: one request at a time, kept alive."""

    __slots__ = ("buffer", "descriptor", "frames", "left", "paused", "position", "streaming", "transport")
    wheel: Wheel

    def connection_made(self, transport) -> None:
        self.transport = transport
        self.descriptor = transport.get_extra_info("socket").fileno()
        self.buffer = b""
        self.streaming = self.paused = False
        self.left = 0
        self.frames: list[bytes] = []
        self.position = 0

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        if self.streaming:
            self.streaming = False
            seen["open_streams"] -= 1
            seen["aborted_streams"] += 1
            seen["last_abort_at"] = perf_counter()

    def data_received(self, data: bytes) -> None:
        if self.buffer:
            data = self.buffer + data
        head_end = data.find(b"\r\n\r\n")
        if head_end < 0:
            self.buffer = data
            return
        head = data[:head_end].lower()
        at = head.find(b"content-length:")
        if at >= 0:
            end = head.find(b"\r\n", at)
            length = int(head[at + 15 : end if end >= 0 else len(head)])
            if len(data) < head_end + 4 + length:
                self.buffer = data
                return
        elif b"transfer-encoding:" in head and not data.endswith(b"0\r\n\r\n"):
            self.buffer = data
            return
        self.buffer = b""
        self.answer(data)

    def answer(self, request: bytes) -> None:
        seen["requests"] += 1
        if request.startswith(b"GET /stats"):
            body = json.dumps(seen).encode()
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        elif request.startswith(b"GET"):
            self.transport.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
        elif b"kind=json" in request:
            self.transport.write(JSON_ANSWER)
        else:
            asked = b'"include_usage":true' in request or b'"include_usage": true' in request
            if b"kind=sse" in request:
                self.transport.write(WHOLE[asked])
                seen["finished_streams"] += 1
            elif b"kind=paced" in request:
                self.start_stream()
                self.frames, self.position = FRAMES[asked], 1
                self.transport.write(FIRST[asked])
                self.wheel.add(self)
            else:
                self.start_stream()
                self.left = HUGE_BYTES
                self.transport.write(STREAM_HEAD)
                self.send_huge()

    def start_stream(self) -> None:
        self.streaming = True
        seen["open_streams"] += 1

    def end_stream(self) -> None:
        self.streaming = False
        seen["open_streams"] -= 1
        seen["finished_streams"] += 1

    def send_next(self) -> bool:
        """Send the event that is due; tell whether more follow."""
        if self.transport is None:
            return False
        payload = self.frames[self.position]
        self.position += 1
        if self.transport.get_write_buffer_size():
            self.transport.write(payload)
        else:
            # Straight to the socket: half the cost of the transport's queue, and nothing is waiting in that.
            try:
                sent = os.write(self.descriptor, payload)
            except BlockingIOError:
                sent = 0
            except OSError:
                return False  # connection_lost follows
            if sent < len(payload):
                self.transport.write(payload[sent:])
        if self.position == len(self.frames):
            self.end_stream()
            return False
        return True

    def send_huge(self) -> None:
        while not self.paused and self.transport is not None and self.left > 0:
            self.left -= len(HUGE_FRAME)
            self.transport.write(HUGE_FRAME)
        if self.left <= 0 and self.streaming and self.transport is not None:
            self.transport.write(frame(b"data: [DONE]\n\n") + b"0\r\n\r\n")
            self.end_stream()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        if self.streaming and self.left > 0:
            self.send_huge()


async def main(port: int) -> None:
    loop = asyncio.get_running_loop()
    Provider.wheel = Wheel(loop)
    server = await loop.create_server(Provider, "127.0.0.1", port, backlog=4096)
    gc.freeze()
    gc.disable()  # nothing here makes cycles, and a collection would show up as latency of the server under test
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
