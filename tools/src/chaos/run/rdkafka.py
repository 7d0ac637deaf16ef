"""One client of librdkafka for `jackdaw chaos run`: lines of a history on standard output, answers on standard input."""

import json
import random
import sys
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

options = json.loads(sys.argv[1])
rng = random.Random(options["seed"])
names = {(topic, partition): name for name, topic, partition in options["keys"]}
common = {
    "bootstrap.servers": options["bootstrap"],
    "socket.timeout.ms": 5000,
    "reconnect.backoff.max.ms": 500,
    "topic.metadata.refresh.interval.ms": 5000,
}


def ask(line):
    print(line, flush=True)
    return sys.stdin.readline().strip()


def begin(function, ops=None, **more):
    ask(json.dumps({"time": 0, "type": "invoke", "f": function, **({"ops": ops} if ops else {}), **more}))


def end(kind, function, ops=None, **more):
    print(json.dumps({"time": 0, "type": kind, "f": function, **({"ops": ops} if ops else {}), **more}), flush=True)


def whole(function, **more):
    begin(function, **more)
    end("ok", function, **more)


def produce():
    """One operation sends a few records to one key; librdkafka batches, pipelines and retries them."""
    settings = {"acks": options["acks"], "enable.idempotence": options["acks"] == -1, "linger.ms": 2}
    settings.update({"delivery.timeout.ms": 45000, "request.timeout.ms": 5000, "retry.backoff.ms": 50})
    if options["acks"] != -1:
        settings["retries"] = 0
    producer = Producer({**common, **settings})
    while True:
        time.sleep(options["pause"] * rng.uniform(0.5, 1.5))
        count = rng.randint(1, 12)
        answer = ask(f"values {count}")
        if answer == "stop" or not answer:
            return
        first = int(answer)
        (topic, partition), name = rng.choice(list(names.items()))
        begin("send", [["send", name, first + i] for i in range(count)])
        offsets, errors = {}, []

        def delivered(error, message, offsets=offsets, errors=errors):
            if error is not None:
                errors.append(str(error))
            else:
                offsets[int(message.value().split(b" ")[0])] = message.offset()

        for i in range(count):
            producer.produce(topic, f"{first + i} {'x' * 60}".encode(), partition=partition, on_delivery=delivered)
        producer.flush()
        if errors:
            end("info", "send", error=errors[0])
            whole("crash")
            producer = Producer({**common, **settings})
        else:
            sent = [["send", name, [o if (o := offsets[first + i]) >= 0 else None, first + i]] for i in range(count)]
            end("ok", "send", sent)


class Member:
    """A member of the group; tells which keys a rebalance took or gave."""

    def __init__(self):
        self.rebalanced = set()
        self.consumer = Consumer({
            **common, "group.id": options["group"], "session.timeout.ms": 10000, "heartbeat.interval.ms": 2000,
            "enable.auto.commit": False, "auto.offset.reset": "earliest", "isolation.level": "read_committed",
            "fetch.wait.max.ms": 300, "max.poll.interval.ms": 60000,
        })
        begin("subscribe", keys=list(names.values()))
        self.consumer.subscribe(sorted(set(options["topics"])), on_assign=self.moved, on_revoke=self.moved, on_lost=self.moved)
        end("ok", "subscribe", keys=list(names.values()))
        self.positions = {}

    def moved(self, _consumer, partitions):
        for moved in partitions:
            self.rebalanced.add(names.get((moved.topic, moved.partition), f"{moved.topic}-{moved.partition}"))
            self.positions.pop((moved.topic, moved.partition), None)

    def poll(self):
        self.rebalanced = set()
        begin("poll", [["poll"]])
        read = {}
        try:
            for message in self.consumer.consume(500, 0.5):
                if message.error() is None:
                    where = (message.topic(), message.partition())
                    read.setdefault(names[where], []).append([message.offset(), int(message.value().split(b" ")[0])])
                    self.positions[where] = message.offset() + 1
        except KafkaException as error:
            end("info", "poll", error=str(error))
            return False
        end("ok", "poll", [["poll", read]], rebalanced=sorted(self.rebalanced))
        return True

    def commit(self):
        """Commits what was read of the keys that are still ours."""
        if not self.positions:
            return True
        offsets = dict(self.positions)
        begin("poll", [["commit", {names[where]: offset for where, offset in offsets.items()}]])
        try:
            done = self.consumer.commit(offsets=[TopicPartition(t, p, o) for (t, p), o in offsets.items()], asynchronous=False)
            failed = [str(part.error) for part in done or [] if part.error is not None]
        except KafkaException as error:
            refused = (KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID, KafkaError.REBALANCE_IN_PROGRESS)
            failed = [str(error)]
            if error.args[0].code() in refused:
                end("fail", "poll", error=failed[0])
                self.positions = {}
                return True
        if failed:
            end("info", "poll", error=failed[0])
            return False
        end("ok", "poll")
        return True


def consume():
    while True:
        member = Member()
        born = last = time.monotonic()
        life = rng.uniform(15, 40)
        fine = True
        while fine and time.monotonic() - born < life:
            if ask("values 0") in ("stop", ""):
                member.consumer.close()
                return
            fine = member.poll()
            if fine and time.monotonic() - last > 2:
                fine = member.commit()
                last = time.monotonic()
        whole("crash")
        member.consumer.close()


produce() if options["role"] == "producer" else consume()
