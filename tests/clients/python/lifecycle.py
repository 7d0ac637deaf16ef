"""A topic's life as every Python client here plays it: create, produce, consume, share in a group, look up offsets, delete.

A client is a class whose methods are called below; it lacks those that it cannot do, and says in `codecs`, `headers` and
`timestamps` what its records can carry. Called as: program BOOTSTRAP PREFIX.
"""
import contextlib
import logging
import os
import sys
import threading
import time
from collections import namedtuple

Record = namedtuple("Record", "partition offset key value headers timestamp")

COUNT = 3000
PARTITIONS = 3
BASE_TIME = int(time.time() * 1000) - 3_600_000  # recent, or retention would remove the records


class Checks:
    def __init__(self, name):
        self.name, self.failed = name, False

    def does(self, what):
        """False for a check whose first word is in $WITHOUT: the broker is known not to serve that yet (see ../README.md)."""
        if what.split()[0].rstrip(":") not in os.environ.get("WITHOUT", "").split():
            return True
        print(f"later {self.name} {what}", flush=True)
        return False

    @contextlib.contextmanager
    def check(self, what):
        try:
            yield
            print(f"ok {self.name} {what}", flush=True)
        except Exception as error:
            self.failed = True
            print(f"FAIL {self.name} {what}: {type(error).__name__}: {error}", flush=True)


def expect(condition, message):
    if not condition:
        raise AssertionError(message)


def wait_for(condition, message, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        expect(time.monotonic() < deadline, f"{message} (waited {seconds} s)")
        time.sleep(0.05)


def make_records(client, label, count=COUNT):
    return [
        Record(
            partition=None,
            offset=None,
            key=f"{label}/{i % 50}".encode(),
            value=f"{label} {i} {'x' * 100}".encode(),
            headers=[("number", str(i).encode())] if client.headers else [],
            timestamp=BASE_TIME + i if client.timestamps else None,
        )
        for i in range(count)
    ]


def contents(client, records):
    """What a record carries, without the place where it lies."""
    return sorted((r.key, r.value, r.headers, r.timestamp if client.timestamps else None) for r in records)


def verify(client, label, sent, consumed):
    """All of `sent` came back once and unchanged, each key in one partition, each partition in the order of sending."""
    mine = [r for r in consumed if r.value.startswith(f"{label} ".encode())]
    expect(len(mine) == len(sent), f"sent {len(sent)} records, {len(mine)} came back")
    for got, want in zip(contents(client, mine), contents(client, sent)):
        expect(got == want, f"sent {want}, got {got}")
    last, home = {}, {}
    for r in mine:
        number = int(r.value.split()[1])
        expect(last.get(r.partition, -1) < number, f"partition {r.partition} is out of order at offset {r.offset}")
        expect(home.setdefault(r.key, r.partition) == r.partition, f"key {r.key} is in two partitions")
        last[r.partition] = number


class Member(threading.Thread):
    """One member of a group, polling in a thread of its own as an application would."""

    opened = []

    def __init__(self, client, group, topic):
        super().__init__(daemon=True)
        self.client, self.group, self.topic = client, group, topic
        self.records, self.assigned, self.idle_polls, self.leaving, self.error = [], set(), 0, False, None
        self.opened.append(self)
        self.start()

    def run(self):
        try:
            consumer = self.client.group_consumer(self.group, self.topic)
            while not self.leaving:
                batch, assigned = consumer.poll(), consumer.assigned()
                self.idle_polls = 0 if batch or assigned != self.assigned else self.idle_polls + 1
                self.records += batch
                self.assigned = assigned
            consumer.commit()
            consumer.close()
        except Exception as error:
            self.error = error

    def leave(self):
        self.leaving = True
        self.join(30)
        if self.error:
            raise self.error
        expect(not self.is_alive(), "a member did not close within 30 s")


def group_checks(client, checks, topic, group, sent):
    with checks.check("group of two, one leaves, the other takes over"):
        one, two = Member(client, group, topic), Member(client, group, topic)
        wait_for(lambda: one.error or two.error or one.assigned and two.assigned and len(one.assigned | two.assigned) == PARTITIONS
                 and not one.assigned & two.assigned, "two members do not share the partitions")
        two.leave()
        wait_for(lambda: one.error or len(one.assigned) == PARTITIONS, "the one left did not take over")
        wait_for(lambda: one.error or one.idle_polls > 5, "the group does not come to the end")
        seen = {r.value for r in one.records + two.records}
        expect(seen == {r.value for r in sent}, f"the group read {len(seen)} of {len(sent)} records")
        one.leave()
    with checks.check("group continues from the committed offset"):
        more = make_records(client, "more", 100)
        client.produce(topic, more, "none", "all")
        again = Member(client, group, topic)
        wait_for(lambda: again.error or len(again.records) >= len(more), "the group did not read the new records")
        again.leave()
        old = [r for r in again.records if not r.value.startswith(b"more ")]
        expect(not old, f"{len(old)} records came again, the first from partition {old and old[0].partition} offset {old and old[0].offset}")
        expect(contents(client, again.records) == contents(client, more), "records came back changed")
    for member in Member.opened:  # also after a failure, or it would keep the group and the topic alive
        member.leaving = True
        member.join(10)


def offset_checks(client, checks, topic):
    with checks.check("offsets: earliest, latest"):
        ends = [client.end_offsets(topic, partition) for partition in range(PARTITIONS)]
        expect(all(earliest == 0 for earliest, _ in ends), f"earliest offsets are not 0: {ends}")
        total = sum(latest for _, latest in ends)
        expect(total == len(client.consume(topic, total)), f"latest offsets add up to {total}")
    if hasattr(client, "offset_at"):
        with checks.check("offsets: by timestamp"):
            records = [r for r in client.consume(topic, total) if r.partition == 0]
            wanted = BASE_TIME + COUNT // 2
            first = next(r.offset for r in records if r.timestamp >= wanted)
            found = client.offset_at(topic, 0, wanted)
            expect(found == first, f"timestamp {wanted} is at offset {first}, found {found}")


def transaction_checks(client, checks, prefix):
    with checks.check("idempotent produce"):
        topic, records = f"{prefix}-idempotent", make_records(client, "idempotent")
        client.create_topic(topic, PARTITIONS)
        client.produce(topic, records, "none", "all", idempotent=True)
        verify(client, "idempotent", records, client.consume(topic, COUNT))
    what = "transactions: one aborted, one committed, read_committed"
    if not checks.does(what):
        return
    with checks.check(what):
        topic = f"{prefix}-transactions"
        aborted, committed = make_records(client, "aborted", 100), make_records(client, "committed", 100)
        client.create_topic(topic, PARTITIONS)
        client.transactions(f"{prefix}-id", topic, aborted, committed)
        found = client.consume(topic, 200)
        expect(contents(client, found) == contents(client, aborted + committed), f"read_uncommitted found {len(found)} records")
        found = client.consume(topic, 100, isolation="read_committed")
        expect(contents(client, found) == contents(client, committed), f"read_committed found {len(found)} records")


def run(name, client_class):
    logging.basicConfig(level=logging.CRITICAL)
    bootstrap, prefix = sys.argv[1:]
    client, checks, topic = client_class(bootstrap, prefix), Checks(name), f"{prefix}-life"
    if hasattr(client, "create_topic"):
        with checks.check(f"create a topic of {PARTITIONS} partitions"):
            client.create_topic(topic, PARTITIONS)

    sent = {}
    for codec, acks in [(codec, "all") for codec in client.codecs] + [("none", "1"), ("none", "0")]:
        label = f"{codec}-acks-{acks}"
        with checks.check(f"produce {COUNT} records, {codec}, acks={acks}"):
            client.produce(topic, make_records(client, label), codec, acks)
            sent[label] = make_records(client, label)

    total = sum(map(len, sent.values()))
    consumed = []
    with checks.check(f"consume {total} records"):
        consumed = client.consume(topic, total)
    for label, records in sent.items():
        with checks.check(f"records of {label} came back in order"):
            verify(client, label, records, consumed)

    if hasattr(client, "group_consumer"):
        group_checks(client, checks, topic, f"{prefix}-group", [r for records in sent.values() for r in records])
    offset_checks(client, checks, topic)
    if hasattr(client, "transactions"):
        transaction_checks(client, checks, prefix)
    for what, check in getattr(client, "more_checks", lambda: {})().items():
        with checks.check(what):
            check()
    with checks.check("unknown topic is a clear error"):
        client.unknown_topic(f"{prefix}-nobody")
    if hasattr(client, "delete_topic"):
        with checks.check("delete the topic"):
            client.delete_topic(topic)
            wait_for(lambda: not client.topic_exists(topic), "the topic is still there")
    sys.exit(checks.failed)
