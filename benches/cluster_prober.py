"""An idempotent producer with librdkafka's defaults, and the longest time in which it got no acknowledgement.

    cluster_prober.py BOOTSTRAP TOPIC     (in a Python that has confluent-kafka)

One record every 5 ms goes to one partition. Commands come as lines, each is answered by one line of JSON:

    begin PARTITION    probe this partition from now on; answered when records are acknowledged
    resumed MOMENT     answered when records sent after this moment (of the monotonic clock) are acknowledged steadily
    end MOMENT         the longest gap between two acknowledgements that ends after this moment; nothing is sent afterwards
"""

import json
import queue
import sys
import threading
import time

from confluent_kafka import Producer

EVERY_S = 0.005
STEADY_S = 0.3
VALUE = b"x" * 100


class Prober:
    def __init__(self, bootstrap, topic):
        self.topic = topic
        self.producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "log_level": 2})
        self.partition, self.failed, self.waits = None, 0, None
        # Of each acknowledgement, when it came and when its record was sent.
        self.acks = []

    def run(self, commands):
        due = time.monotonic()
        while True:
            try:
                command = commands.get_nowait()
                if command is None:
                    return
                self.obey(*command)
            except queue.Empty:
                pass
            now = time.monotonic()
            if self.partition is None:
                self.producer.poll(0.02)
                due = now
                continue
            if now >= due:
                self.send(now)
                due = max(due + EVERY_S, now - EVERY_S)
            self.producer.poll(max(0.0, min(due - time.monotonic(), EVERY_S)))
            if self.waits and self.waits():
                self.waits = None
                answer({"at": time.monotonic()})

    def send(self, now):
        def delivered(error, _message):
            if error is not None:
                self.failed += 1
            else:
                self.acks.append((time.monotonic(), now))

        try:
            self.producer.produce(self.topic, VALUE, partition=self.partition, on_delivery=delivered)
        except BufferError:
            pass  # as full as it may be: nothing is acknowledged for long

    def obey(self, word, argument):
        if word == "begin":
            self.partition, self.acks, self.failed = int(argument), [], 0
            self.waits = lambda: len(self.acks) >= 40 and self.is_steady()
        elif word == "resumed":
            moment = float(argument)
            self.waits = lambda: bool(self.acks) and self.acks[-1][1] > moment and self.is_steady()
        elif word == "end":
            moment, acks = float(argument), self.acks
            gaps = [(later - earlier, later) for (earlier, _), (later, _) in zip(acks, acks[1:]) if later > moment]
            gap, at = max(gaps, default=(0.0, moment))
            self.partition = None
            answer({"gap_ms": gap * 1e3, "ends_ms": (at - moment) * 1e3, "failed": self.failed, "acks": len(acks)})

    def is_steady(self):
        """Acknowledgements have come for a while without a pause."""
        now = time.monotonic()
        recent = [at for at, _ in self.acks[-100:] if at > now - STEADY_S]
        times = [now - STEADY_S, *recent, now]
        return max(later - earlier for earlier, later in zip(times, times[1:])) < 0.1


def answer(found):
    print(json.dumps(found), flush=True)


def read(commands):
    for line in sys.stdin:
        word, _, argument = line.strip().partition(" ")
        commands.put((word, argument))
    commands.put(None)


def main():
    commands = queue.Queue()
    threading.Thread(target=read, args=[commands], daemon=True).start()
    Prober(*sys.argv[1:]).run(commands)


main()
