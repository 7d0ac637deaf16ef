import inspect

import kafka.codec
from kafka import KafkaConsumer, KafkaProducer, TopicPartition, __version__
from kafka.errors import UnknownTopicOrPartitionError

from lifecycle import PARTITIONS, Record, expect, run


class GroupConsumer:
    def __init__(self, consumer, topic):
        self.consumer = consumer
        self.consumer.subscribe([topic])

    def poll(self):
        return read(self.consumer)

    def assigned(self):
        return {p.partition for p in self.consumer.assignment()}

    def commit(self):
        self.consumer.commit()

    def close(self):
        self.consumer.close()


class KafkaPython:
    codecs = ["none"] + [codec for codec in ("gzip", "snappy", "lz4", "zstd") if getattr(kafka.codec, f"has_{codec}", lambda: False)()]
    headers = "headers" in inspect.signature(KafkaProducer.send).parameters
    timestamps = True

    def __init__(self, bootstrap, prefix):
        self.bootstrap, self.prefix = bootstrap, prefix

    def producer(self, **settings):
        return KafkaProducer(bootstrap_servers=self.bootstrap, linger_ms=5, **settings)

    def send(self, producer, topic, records):
        sent = [
            producer.send(topic, r.value, key=r.key, timestamp_ms=r.timestamp, **({"headers": r.headers} if self.headers else {}))
            for r in records
        ]
        producer.flush()
        for future in sent:
            future.get(30)

    def produce(self, topic, records, codec, acks, idempotent=False):
        settings = {"enable_idempotence": True} if idempotent else {}  # old releases know no such setting
        producer = self.producer(compression_type=None if codec == "none" else codec, acks=acks if acks == "all" else int(acks), **settings)
        self.send(producer, topic, records)
        producer.close()

    def consumer(self, **settings):
        return KafkaConsumer(bootstrap_servers=self.bootstrap, enable_auto_commit=False, auto_offset_reset="earliest", **settings)

    def consume(self, topic, count, isolation=None):
        settings = {"isolation_level": isolation} if isolation else {}
        consumer = self.consumer(**settings)
        consumer.assign([TopicPartition(topic, p) for p in range(PARTITIONS)])
        records, idle = [], 0
        while len(records) < count and idle < 50:
            batch = read(consumer)
            records, idle = records + batch, 0 if batch else idle + 1
        consumer.close()
        return records

    def group_consumer(self, group, topic):
        return GroupConsumer(self.consumer(group_id=group), topic)

    def end_offsets(self, topic, partition):
        consumer, place = self.consumer(), TopicPartition(topic, partition)
        consumer.assign([place])
        consumer.seek_to_beginning(place)
        earliest = consumer.position(place)
        consumer.seek_to_end(place)
        return earliest, consumer.position(place)

    def unknown_topic(self, topic):
        try:
            self.delete_topic(topic)
        except UnknownTopicOrPartitionError:
            return
        expect(False, "no error")

    def topic_exists(self, topic):
        return topic in self.consumer().topics()


class WithAdmin(KafkaPython):
    """Since 1.4."""

    def admin(self):
        from kafka.admin import KafkaAdminClient
        return KafkaAdminClient(bootstrap_servers=self.bootstrap)

    def create_topic(self, topic, partitions):
        from kafka.admin import NewTopic
        self.admin().create_topics([NewTopic(topic, partitions, 1)])

    def delete_topic(self, topic):
        self.admin().delete_topics([topic])

    def offset_at(self, topic, partition, timestamp):
        place = TopicPartition(topic, partition)
        return self.consumer().offsets_for_times({place: timestamp})[place].offset


class WithTransactions(WithAdmin):
    """Since 2.1."""

    def transactions(self, id, topic, aborted, committed):
        producer = self.producer(transactional_id=id)
        producer.init_transactions()
        for records, end in (aborted, producer.abort_transaction), (committed, producer.commit_transaction):
            producer.begin_transaction()
            self.send(producer, topic, records)
            end()
        producer.close()


def read(consumer):
    return [
        Record(r.partition, r.offset, r.key, r.value, getattr(r, "headers", None) or [], r.timestamp)
        for batch in consumer.poll(timeout_ms=200).values() for r in batch
    ]


if __name__ == "__main__":
    if hasattr(KafkaProducer, "begin_transaction"):
        client = WithTransactions
    else:
        client = WithAdmin
    run(f"kafka-python-{__version__}", client)
