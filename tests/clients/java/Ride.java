import java.io.*;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.*;

/**
 * Produces to a topic of its own, and consumes from it in a group of two, until the second line of input; then says whether anything
 * was to be noticed of what happened to the brokers meanwhile. Record n of a partition has the value n.
 *
 * Called as: Ride NAME BOOTSTRAP PREFIX
 */
public class Ride extends Checks {
    static final int PARTITIONS = 6;
    static final long PATIENCE_MS = 30_000;

    final String bootstrap, topic, group;
    /** What an application would have had to handle. */
    final Queue<String> errors = new ConcurrentLinkedQueue<>();
    /** The offset of each acknowledged record, and those read in their order, by partition. */
    final List<Map<Integer, Long>> acknowledged = new ArrayList<>();
    final List<List<ConsumerRecord<byte[], String>>> read = new ArrayList<>();
    final int[] sent = new int[PARTITIONS];
    volatile long longestWaitMs;
    volatile boolean producing = true, consuming = true;

    Ride(String name, String bootstrap, String prefix) {
        super(name);
        this.bootstrap = bootstrap;
        topic = prefix + "-ride";
        group = prefix + "-riders";
        for (int p = 0; p < PARTITIONS; p++) {
            acknowledged.add(new ConcurrentHashMap<>());
            read.add(Collections.synchronizedList(new ArrayList<>()));
        }
    }

    public static void main(String[] args) throws Exception {
        Ride ride = new Ride(args[0], args[1], args[2]);
        ride.run();
        System.exit(ride.failed ? 1 : 0);
    }

    void run() throws Exception {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        try (Admin admin = Admin.create(settings)) {
            admin.createTopics(List.of(new NewTopic(topic, PARTITIONS, (short) 3))).all().get();
            Member[] members = {new Member(), new Member()};
            waitFor("two members do not share the partitions", () ->
                members[0].assigned.size() == PARTITIONS / 2 && members[1].assigned.size() == PARTITIONS / 2);
            int changes = members[0].changes + members[1].changes;
            Thread producer = new Thread(this::produce);
            producer.start();
            waitFor("nothing is read", () -> read.stream().allMatch(records -> records.size() > 10));
            System.out.println("riding");
            BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
            lines.readLine(); // what comes next is worse; this client need not know
            lines.readLine();
            producing = false;
            producer.join();
            ends(admin, members, changes);
        }
    }

    void ends(Admin admin, Member[] members, int changes) throws Exception {
        int total = acknowledged.stream().mapToInt(Map::size).sum();
        check("no send failed of " + Arrays.stream(sent).sum() + ", the longest took " + longestWaitMs + " ms", () -> {
            expect(total == Arrays.stream(sent).sum(), total + " were acknowledged; " + errors);
            expect(longestWaitMs < PATIENCE_MS, "too long");
        });
        check("every acknowledged record is read once, in order, at its offset", () -> {
            waitFor("only " + read.stream().mapToInt(List::size).sum() + " of " + total + " are read", () ->
                read.stream().mapToInt(List::size).sum() >= total);
            for (int p = 0; p < PARTITIONS; p++) {
                for (int n = 0; n < read.get(p).size(); n++) {
                    ConsumerRecord<byte[], String> record = read.get(p).get(n);
                    expect(record.value().equals("" + n), "record " + n + " of partition " + p + " is " + record.value());
                    expect(acknowledged.get(p).get(n) == record.offset(), "acknowledged at " + acknowledged.get(p).get(n) + ": " + record);
                }
                expect(read.get(p).size() == sent[p], "partition " + p + " has " + read.get(p).size() + " of " + sent[p]);
            }
        });
        consuming = false;
        for (Member member : members) member.join();
        check("no poll and no commit failed", () -> expect(errors.isEmpty(), errors.toString()));
        check("no rebalance, as no member came or went", () ->
            expect(members[0].changes + members[1].changes == changes, (members[0].changes + members[1].changes - changes) + " changes"));
        check("committed offsets are those of the ends", () -> {
            Map<TopicPartition, OffsetAndMetadata> committed = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get();
            for (int p = 0; p < PARTITIONS; p++) {
                OffsetAndMetadata found = committed.get(new TopicPartition(topic, p));
                expect(found != null && found.offset() == sent[p], "partition " + p + ": " + found + ", not " + sent[p]);
            }
        });
    }

    static void waitFor(String what, Callable<Boolean> condition) throws Exception {
        long deadline = System.nanoTime() + PATIENCE_MS * 1_000_000;
        while (!condition.call()) {
            expect(System.nanoTime() < deadline, what + " (waited 30 s)");
            Thread.sleep(20);
        }
    }

    void produce() {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("linger.ms", "2");
        try (Producer<byte[], String> producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new StringSerializer())) {
            for (int i = 0; producing; i++) {
                int p = i % PARTITIONS, n = sent[p]++;
                long start = System.nanoTime();
                producer.send(new ProducerRecord<>(topic, p, null, "" + n), (at, error) -> {
                    longestWaitMs = Math.max(longestWaitMs, (System.nanoTime() - start) / 1_000_000);
                    if (error != null) errors.add("send: " + error);
                    else acknowledged.get(p).put(n, at.offset());
                });
                if (p == PARTITIONS - 1) Thread.sleep(20);
            }
        } catch (Exception error) {
            errors.add("producer: " + error);
        }
    }

    /** Commits what it has read, as it goes; a commit that goes back would show as an offset that is not the end's. */
    class Member extends Thread implements ConsumerRebalanceListener {
        volatile Set<TopicPartition> assigned = Set.of();
        volatile int changes;

        Member() {
            start();
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            assigned = new HashSet<>(partitions);
            changes++;
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            if (consuming) changes++;
        }

        @Override
        public void run() {
            Properties settings = new Properties();
            settings.put("bootstrap.servers", bootstrap);
            settings.put("group.id", group);
            settings.put("enable.auto.commit", "false");
            settings.put("auto.offset.reset", "earliest");
            try (Consumer<byte[], String> consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new StringDeserializer())) {
                consumer.subscribe(List.of(topic), this);
                while (consuming) {
                    ConsumerRecords<byte[], String> records = consumer.poll(Duration.ofMillis(100));
                    for (ConsumerRecord<byte[], String> record : records) read.get(record.partition()).add(record);
                    if (!records.isEmpty()) consumer.commitSync();
                }
            } catch (Exception error) {
                errors.add("consumer: " + error);
            }
        }
    }
}
