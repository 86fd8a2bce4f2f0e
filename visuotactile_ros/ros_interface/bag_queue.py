"""BagQueue: messages on their way to a bag, so that nobody who has one waits for the disk; imports no ROS."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from visuotactile_ros.errors import VisuotactileError
from visuotactile_ros.ros_interface.bag_writer import BagWriter
from visuotactile_ros.ros_interface.message_definitions import message_definition

DROPPED_KEY = 'visuotactile_ros.dropped_messages'


class BagQueue:
    """A queue of bounded size whose other end, `run`, is the work of a thread of its own.

    Args:
        bag: Where the messages go; only `run` touches it from now on.
        maximum_bytes: Size of the messages that may wait.
        flush_period_s: Time after which a message is safe from a crash of the process, seconds.
        keep_free_bytes: The recording ends when the disk has less free.

    Attributes:
        dropped: Messages that found the queue full or the recording ended, by topic.
        fault: Why the recording ended before `finish`, one line, or ''.
        waiting_bytes: Size of the messages that wait.
    """

    def __init__(self, bag: BagWriter, maximum_bytes: int, flush_period_s: float, keep_free_bytes: int):
        self.dropped: Counter[str] = Counter()
        self.fault = ''
        self.waiting_bytes = 0
        self._bag, self._maximum_bytes, self._keep_free_bytes = bag, maximum_bytes, keep_free_bytes
        self._flush_period_s = flush_period_s
        self._jobs: deque[tuple[str, int, Callable[[], None]]] = deque()
        self._changed = threading.Condition()
        self._is_finishing = self._has_ended = False

    def add_topic(self, name: str, type_name: str, qos_profiles: Sequence[Mapping[str, Any]] = ()) -> None:
        """As BagWriter.add_topic, later.

        Raises:
            ConfigurationError: Nobody here knows the type.
        """
        message_definition(type_name)
        with self._changed:
            self._jobs.append(('', 0, partial(self._bag.add_topic, name, type_name, qos_profiles)))

    def write(self, topic: str, content: bytes, received_ns: int, published_ns: int, sequence: int = 0) -> bool:
        """As BagWriter.write, later.

        Returns:
            False where there is no room: the message is dropped and counted.
        """
        with self._changed:
            if self._has_ended or self.waiting_bytes + len(content) > self._maximum_bytes:
                self.dropped[topic] += 1
                return False
            self.waiting_bytes += len(content)
            self._jobs.append((topic, len(content),
                               partial(self._bag.write, topic, content, received_ns, published_ns, sequence)))
            self._changed.notify()
            return True

    def finish(self) -> None:
        """Let `run` write what waits, close the bag and return."""
        with self._changed:
            self._is_finishing = True
            self._changed.notify()

    def run(self) -> None:
        """Write until `finish`, then close the bag; a disk that fails or has no room ends it earlier, see `fault`."""
        try:
            self._write_jobs()
        except VisuotactileError as error:
            self._note(error)
        finally:
            with self._changed:
                self._has_ended = True
                self.dropped.update(topic for topic, _, _ in self._jobs if topic != '')
                self._jobs.clear()
                self.waiting_bytes = 0
            try:
                self._bag.close({DROPPED_KEY: json.dumps(self.dropped)} if self.dropped else {})
            except VisuotactileError as error:
                self._note(error)

    def _note(self, error: VisuotactileError) -> None:
        if self.fault == '':
            lost = self._bag.unflushed_messages
            told = f'; at most {lost} of the messages that count as written are lost' if lost > 0 else ''
            self.fault = str(VisuotactileError(f'{error.problem}{told}', error.remedy))

    def _write_jobs(self) -> None:
        next_flush_s = time.monotonic() + self._flush_period_s
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._is_finishing,
                                       max(0.0, next_flush_s - time.monotonic()))
                job = self._jobs[0] if self._jobs else None
                if job is None and self._is_finishing:
                    return
            if job is not None:
                _, size, work = job
                work()
                # Only now: a message that the disk did not take is still there to be counted as dropped.
                with self._changed:
                    self._jobs.popleft()
                    self.waiting_bytes -= size
            if time.monotonic() >= next_flush_s:
                self._flush()
                next_flush_s = time.monotonic() + self._flush_period_s

    def _flush(self) -> None:
        self._bag.flush()
        free_bytes = self._bag.free_bytes()
        if free_bytes < self._keep_free_bytes:
            raise VisuotactileError(f'the disk of {self._bag.folder} has {free_bytes >> 20} MiB free, less than '
                                    f'{self._keep_free_bytes >> 20}', 'Make room and start a new recording')
