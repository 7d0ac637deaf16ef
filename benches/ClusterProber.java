import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * What cluster_prober.py does, with Apache Kafka's own producer, all of its settings at their defaults: it is idempotent, and asks
 * for acks=all.
 */
public class ClusterProber {
    private static final long EVERY = 5_000_000, STEADY = 300_000_000, GAP = 100_000_000;
    private static final byte[] VALUE = new byte[100];

    private final KafkaProducer<byte[], byte[]> producer;
    private final String topic;
    /** Of each acknowledgement, when it came and when its record was sent. */
    private final List<long[]> acks = new ArrayList<>();
    private int partition = -1;
    private int failed = 0;
    /** Records sent after this moment are waited for; none if it is below 0. */
    private long resumesAfter = -1;

    ClusterProber(String bootstrap, String topic) {
        Map<String, Object> settings = Map.of("bootstrap.servers", bootstrap);
        this.producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer());
        this.topic = topic;
    }

    public static void main(String[] args) throws Exception {
        BlockingQueue<String> commands = new LinkedBlockingQueue<>();
        Thread reader = new Thread(() -> {
            try (BufferedReader in = new BufferedReader(new InputStreamReader(System.in))) {
                for (String line = in.readLine(); line != null; line = in.readLine()) commands.add(line);
            } catch (java.io.IOException error) {
                System.err.println(error);
            }
            System.exit(0);
        });
        reader.setDaemon(true);
        reader.start();
        new ClusterProber(args[0], args[1]).run(commands);
    }

    private void run(BlockingQueue<String> commands) throws InterruptedException {
        long due = System.nanoTime();
        while (true) {
            String command = commands.poll(Math.max(0, due - System.nanoTime()), TimeUnit.NANOSECONDS);
            if (command != null) obey(command.split(" "));
            long now = System.nanoTime();
            if (now < due) continue;
            due = Math.max(due + EVERY, now - EVERY);
            if (partition >= 0) send(now);
            if (resumesAfter >= 0 && hasResumed(now)) {
                resumesAfter = -1;
                answer("{\"at\": %f}", now / 1e9);
            }
        }
    }

    private void send(long now) {
        producer.send(new ProducerRecord<>(topic, partition, null, VALUE), (done, error) -> {
            synchronized (acks) {
                if (error != null) failed++;
                else acks.add(new long[] {System.nanoTime(), now});
            }
        });
    }

    private void obey(String[] command) {
        synchronized (acks) {
            long moment = command[0].equals("begin") ? 0 : (long) (Double.parseDouble(command[1]) * 1e9);
            switch (command[0]) {
                case "begin" -> {
                    acks.clear();
                    failed = 0;
                    partition = Integer.parseInt(command[1]);
                    resumesAfter = System.nanoTime();
                }
                case "resumed" -> resumesAfter = moment;
                case "end" -> {
                    partition = -1;
                    tell(moment);
                }
                default -> throw new IllegalArgumentException(command[0]);
            }
        }
    }

    /** Records sent later are acknowledged, and have been for a while without a pause. */
    private boolean hasResumed(long now) {
        synchronized (acks) {
            if (acks.isEmpty() || acks.get(acks.size() - 1)[1] <= resumesAfter) return false;
            long later = now;
            for (int at = acks.size() - 1; at >= 0; at--) {
                long ack = acks.get(at)[0];
                if (later - ack > GAP) return false;
                if (ack <= now - STEADY) return true;
                later = ack;
            }
            return false;
        }
    }

    private void tell(long moment) {
        long gap = 0, ends = moment;
        for (int at = 1; at < acks.size(); at++) {
            long later = acks.get(at)[0], length = later - acks.get(at - 1)[0];
            if (later > moment && length > gap) {
                gap = length;
                ends = later;
            }
        }
        answer("{\"gap_ms\": %f, \"ends_ms\": %f, \"failed\": %d, \"acks\": %d}", gap / 1e6, (ends - moment) / 1e6, failed, acks.size());
    }

    private static void answer(String format, Object... values) {
        System.out.println(String.format(Locale.ROOT, format, values));
        System.out.flush();
    }
}
