"""Produces to a topic of its own, and consumes from it in a group of two, until the second line of input; then says whether anything
was to be noticed of what happened to the brokers meanwhile. Record n of a partition has the value n.

Called as: ride.py BOOTSTRAP PREFIX
"""
import sys
import threading
import time

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from lifecycle import Checks, expect, wait_for

PARTITIONS = 6


class Ride(Checks):
    def __init__(self, bootstrap, prefix):
        super().__init__("confluent-kafka")
        self.settings = {"bootstrap.servers": bootstrap}
        self.topic, self.group = f"{prefix}-ride", f"{prefix}-riders"
        self.errors = []  # what an application would have had to handle
        # The offset of each acknowledged record, and those read in their order, by partition.
        self.acknowledged = [{} for _ in range(PARTITIONS)]
        self.read = [[] for _ in range(PARTITIONS)]
        self.sent, self.longest = [0] * PARTITIONS, 0.0
        self.producing = self.consuming = True

    def run(self):
        admin = AdminClient(self.settings)
        admin.create_topics([NewTopic(self.topic, PARTITIONS, 3)])[self.topic].result()
        members = [Member(self), Member(self)]
        share = PARTITIONS // 2
        wait_for(lambda: all(len(m.assigned) == share for m in members), "two members do not share the partitions")
        changes = sum(m.changes for m in members)
        producer = threading.Thread(target=self.produce)
        producer.start()
        wait_for(lambda: all(len(records) > 10 for records in self.read), "nothing is read")
        print("riding", flush=True)
        sys.stdin.readline()  # what comes next is worse; this client need not know
        sys.stdin.readline()
        self.producing = False
        producer.join()
        self.ends(admin, members, changes)
        sys.exit(self.failed)

    def ends(self, admin, members, changes):
        total = sum(map(len, self.acknowledged))
        with self.check(f"no send failed of {sum(self.sent)}, the longest took {self.longest * 1000:.0f} ms"):
            expect(total == sum(self.sent), f"{total} were acknowledged; {self.errors}")
            expect(self.longest < 30, "too long")
        with self.check("every acknowledged record is read once, in order, at its offset"):
            wait_for(lambda: sum(map(len, self.read)) >= total, f"not all of {total} are read")
            for p, records in enumerate(self.read):
                expect(len(records) == self.sent[p], f"partition {p} has {len(records)} of {self.sent[p]}")
                for n, (value, offset) in enumerate(records):
                    expect(value == str(n).encode(), f"record {n} of partition {p} is {value}")
                    expect(self.acknowledged[p][n] == offset, f"{n} was acknowledged at {self.acknowledged[p][n]}, read at {offset}")
        self.consuming = False
        for member in members:
            member.join()
        with self.check("no poll and no commit failed"):
            expect(not self.errors, self.errors)
        with self.check("no rebalance, as no member came or went"):
            found = sum(m.changes for m in members)
            expect(found == changes, f"{found - changes} changes")
        with self.check("committed offsets are those of the ends"):
            asked = [ConsumerGroupTopicPartitions(self.group)]
            committed = admin.list_consumer_group_offsets(asked)[self.group].result().topic_partitions
            found = {at.partition: at.offset for at in committed}
            expect(found == dict(enumerate(self.sent)), f"{found}, not {self.sent}")

    def produce(self):
        producer = Producer({**self.settings, "enable.idempotence": True, "linger.ms": 2})
        i = 0
        while self.producing:
            p = i % PARTITIONS
            n, start = self.sent[p], time.monotonic()
            self.sent[p] += 1
            i += 1

            def delivered(error, message, p=p, n=n, start=start):
                self.longest = max(self.longest, time.monotonic() - start)
                if error:
                    self.errors.append(f"send: {error}")
                else:
                    self.acknowledged[p][n] = message.offset()

            producer.produce(self.topic, str(n).encode(), partition=p, on_delivery=delivered)
            producer.poll(0.02 if p == PARTITIONS - 1 else 0)
        left = producer.flush(30)
        if left:
            self.errors.append(f"{left} were never delivered")


class Member(threading.Thread):
    def __init__(self, ride):
        super().__init__(daemon=True)
        self.ride, self.assigned, self.changes = ride, [], 0
        self.start()

    def moved(self, assigned):
        def told(_, partitions):
            if self.ride.consuming:
                self.assigned = partitions if assigned else []
                self.changes += 1

        return told

    def committed(self, error, _):
        # What is worth another try is tried with the next commit, also when the coordinator was not found yet.
        if error and not error.retriable() and error.code() not in (KafkaError._WAIT_COORD, KafkaError._TRANSPORT):
            self.ride.errors.append(f"commit: {error}")

    def run(self):
        try:
            consumer = Consumer({
                **self.ride.settings, "group.id": self.ride.group, "auto.offset.reset": "earliest",
                "auto.commit.interval.ms": 200, "on_commit": self.committed,
            })
            consumer.subscribe([self.ride.topic], on_assign=self.moved(True), on_revoke=self.moved(False))
            while self.ride.consuming:
                for message in consumer.consume(500, timeout=0.1):
                    if message.error():
                        raise KafkaException(message.error())
                    self.ride.read[message.partition()].append((message.value(), message.offset()))
            consumer.close()
        except Exception as error:
            self.ride.errors.append(f"consumer: {error}")


if __name__ == "__main__":
    Ride(*sys.argv[1:]).run()
