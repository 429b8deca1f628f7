"""The child process that holds the models: `python -m dit_serve.service.workers.process FD LOADER`.

FD is one end of a UNIX socket pair, LOADER the import path of the function that loads a model.
The main thread imports the loader, says so, waits for the first message (`service.workers.standby`), loads and then
runs the engine; a reader thread feeds it, and another one tells the parent at regular times, from the start on, that
the process runs, and if its work does not end. The process ends when the socket closes, even while it loads, because
then its parent is gone; on Linux the kernel ends it too, even while it is stopped. The signals that a terminal or an
orchestrator sends to everybody are the parent's business and are ignored here.

Knows no HTTP. Nothing of a client reaches it but the numbers of a `Job`.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import logging
import os
import queue
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, BinaryIO, NoReturn, cast

from dit_serve.models.options import ModelInfo, ModelOptions, SampleSpec, split_name
from dit_serve.service.engine.engine import Cancel, Engine, EngineOptions, Inbox
from dit_serve.service.engine.hangs import Pulse
from dit_serve.service.errors import WireError
from dit_serve.service.image.png import encode_png
from dit_serve.service.image.receipt import make_receipt
from dit_serve.service.telemetry.logs import adopt_library_loggers, set_up_logging
from dit_serve.service.version import version
from dit_serve.service.wire.frames import pack, receive
from dit_serve.service.wire.job import Job, Stepped
from dit_serve.service.wire.messages import (
    CancelJob,
    Configure,
    Fatal,
    Heartbeat,
    Imported,
    Loading,
    Message,
    Ready,
    SubmitJob,
)
from dit_serve.service.workers.rest import RestingDoor, RestingInbox, give_back

Loader = Callable[[str, ModelOptions], RestingDoor]
Loaded = dict[str, tuple[ModelInfo, RestingDoor]]
BEATS_PER_SILENCE = 6
BEAT_SECONDS = 1.0  # at the most; what is not told yet what a silence is beats so
PR_SET_PDEATHSIG = 1  # linux/prctl.h
WARM_SECONDS = 1.0  # for all sizes of one model's batches: 0.2 s suffice for 16 of a small one
TELL_SECONDS = 0.02  # steps that follow each other faster are told together: each message wakes the HTTP process


def main(arguments: list[str]) -> int:
    """Runs the worker on an open socket; the exit status."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    set_up_logging("info")
    descriptor, loader = int(arguments[0]), arguments[1]
    with socket.socket(fileno=descriptor) as connection:
        die_with_parent(connection)
        stream = connection.makefile("rb")
        post = _Post(connection)
        told: queue.SimpleQueue[Configure] = queue.SimpleQueue()
        inbox = RestingInbox()
        pulses: queue.SimpleQueue[tuple[Pulse, float]] = queue.SimpleQueue()
        threading.Thread(target=_read, args=(stream, told, inbox), name="read-socket", daemon=True).start()
        threading.Thread(target=_beat, args=(pulses, post), name="heartbeat", daemon=True).start()
        try:
            load = _imported(loader)
            adopt_library_loggers()
            post(Imported())
            configure = told.get()
            pulse = Pulse(configure.step_timeout_seconds)
            pulses.put((pulse, min(BEAT_SECONDS, configure.silence_seconds / BEATS_PER_SILENCE)))
            doors = load_all(configure, load, post)
        except Exception as error:
            post(_fatal(error))
            return 1
        inbox.rest = partial(give_back, [door for _, door in doors.values()])
        serve(configure, doors, inbox, post, pulse)
    return 0


def die_with_parent(connection: socket.socket) -> None:
    """Has the kernel kill this process when its parent ends, whatever either of them is doing then; Linux alone.

    Args:
        connection: to the parent, who made both ends.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    if os.getppid() != struct.unpack("3i", credentials)[0]:  # it has ended before
        os._exit(1)


class _Post:
    """Sends messages from any thread, in order, whole frames at a time.

    A step is held for a moment, and sent with the next message: at the latest the end of one of its jobs, or a beat.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._held = b""
        self._sent_at = 0.0

    def __call__(self, message: Message) -> None:
        with self._lock:
            self._held += pack(message)
            now = time.monotonic()
            if not isinstance(message, Stepped) or now - self._sent_at >= TELL_SECONDS:
                frames, self._held, self._sent_at = self._held, b"", now
                try:
                    self._connection.sendall(frames)
                except ConnectionError:  # the parent is gone
                    _exit(0)


def load_all(configure: Configure, load: Loader, post: Callable[[Message], None]) -> Loaded:
    """The models of the settings by name, each tried once so that the first request finds it warm.

    Raises:
        ValueError: two models have the same name.
        ModelError: a model cannot be loaded.
    """
    loaded: Loaded = {}
    for given, path in map(split_name, configure.models):
        post(Loading(given or path))
        door = load(path, configure.options)
        info = replace(door.info, name=given) if given else door.info
        if info.name in loaded:
            raise ValueError(f"two models are called {info.name}; give one another name: {info.name}-2={path}")
        _warm_up(info, door, configure.max_batch_sequences)
        loaded[info.name] = info, door
    return loaded


def serve(
    configure: Configure,
    loaded: Loaded,
    inbox: Inbox,
    post: Callable[[Message], None],
    pulse: Pulse,
) -> None:
    """Says that it is ready and runs the engine until the process ends."""
    infos = {name: info for name, (info, _) in loaded.items()}
    build = version()

    def encode(job: Job, pixels: Any) -> bytes:
        return encode_png(pixels, make_receipt(job.spec, infos[job.model], build).to_chunks())

    engine = Engine(
        {name: door for name, (_, door) in loaded.items()},
        inbox=inbox,
        encode=encode,
        encode_preview=lambda pixels: encode_png(pixels, {}),
        post=post,
        options=EngineOptions(
            configure.max_batch_sequences,
            configure.fill_across_guidance,
            decodes_beside=all(info.device != "cpu" for info in infos.values()),
        ),
        pulse=pulse,
    )
    post(Ready(tuple(infos.values()), dict(engine.places)))
    engine.run()


def _read(stream: BinaryIO, told: queue.SimpleQueue[Configure], inbox: Inbox) -> None:
    """Passes on what to load, feeds the engine, and ends the process with the socket, whatever else it is doing."""
    try:
        while (message := receive(stream)) is not None:
            match message:
                case Configure():
                    told.put(message)
                case SubmitJob(job):
                    inbox.put(job)
                case CancelJob(job_id):
                    inbox.put(Cancel(job_id))
                case _:
                    raise WireError(f"a worker takes no {message.kind}")
    except (OSError, WireError):
        logging.getLogger("dit.worker").exception("the parent cannot be understood")
        _exit(1)
    _exit(0)


def _exit(status: int) -> NoReturn:
    """Ends the process from any thread, once its last lines are out."""
    logging.shutdown()
    os._exit(status)


def _beat(pulses: queue.SimpleQueue[tuple[Pulse, float]], post: Callable[[Message], None]) -> None:
    """Tells for ever that the process runs; from when there is a pulse to be felt, and how often, that too."""
    pulse, every_seconds = None, BEAT_SECONDS
    while True:
        post(Heartbeat("" if pulse is None else pulse.overdue()))
        with contextlib.suppress(queue.Empty):
            pulse, every_seconds = pulses.get(timeout=every_seconds)


def _warm_up(info: ModelInfo, door: RestingDoor, max_batch_sequences: int) -> None:
    """Captures the step and the decoder on a card, and makes one image everywhere: the first request finds it warm.

    On a processor each size of a batch takes a step, as long as that is soon done: its library makes code for each size
    and keeps it, 5 MiB of a small model. So no later step waits for that, and the worker is as large as it will be.
    """
    door.warm_up()
    spec = SampleSpec(class_id=0, seed=0, steps=1, sampler=info.samplers[0], guidance_scale=1)
    sample = door.begin(replace(spec, guidance_scale=info.default_guidance_scale))
    door.step([sample])
    door.preview(sample)()
    door.decode([sample])
    began = time.monotonic()
    for size in range(1, 1 + max_batch_sequences * (info.device == "cpu")):
        if time.monotonic() - began > WARM_SECONDS:
            break
        door.step([door.begin(spec) for _ in range(size)])


def _fatal(error: Exception) -> Fatal:
    """A start that failed: by the settings or the model's files it will fail again, by anything else perhaps not."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    is_ours = bool(kinds & {"ModelError", "ValueError"})
    is_permanent = is_ours and "ChangedMeanwhile" not in kinds
    sentence = str(error) if is_ours else f"{type(error).__name__}: {error}"
    if not is_ours:
        logging.getLogger("dit.worker").error("the models cannot be loaded", exc_info=error)
    return Fatal(sentence, type(error).__name__, is_permanent)


def _imported(path: str) -> Loader:
    module, _, name = path.partition(":")
    return cast(Loader, getattr(importlib.import_module(module), name))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
