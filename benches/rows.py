"""The rows that `benches/run` measures: what is asked of each system, and what is aimed at.

`work` gives each system its amount. The amounts differ since the systems do: figures are per request, GiB or second.
Besides kafka and jackdaw there are the limits, each a program of `jackdaw bench limit`: `echo` answers frames, `store`
also checksums and writes them, `send` answers with that many bytes from a buffer.
"""

SMALL = "produce --record-size 100 --warmup 20000"
BATCHES = "produce --record-size 1KiB --connections 8 --depth 5 --partitions 16 --warmup 500"

MANY = "produce --record-size 1KiB --batch-size 16KiB --connections 16 --depth 32 --partitions 16 --warmup 500"

# Kafka before it is measured: each kind of work, until the time is up.
WARM_UP = [
    "produce --requests 100000 --connections 16 --depth 5 --partitions 4",
    "produce --bytes 256MiB --record-size 1KiB --batch-size 16KiB --connections 8 --depth 5 --partitions 16",
    "consume --fill 64MiB --bytes 1GiB --depth 2 --connections 2",
    "latency --records 5000 --warmup 0",
]

CPU_REQUEST, CPU_GIB = "broker.cpu_us_per_request", "broker.cpu_seconds_per_gib"
RATE, MIB = "requests_per_second", "mib_per_second"


def cpu(metric, share):
    return {"text": f"CPU ≤ {share} of Kafka's", "metric": metric, "of": "kafka", "most": eval_share(share)}


def eval_share(share):
    top, bottom = share.split("/")
    return int(top) / int(bottom)


def most(metric, of, factor, text):
    return {"text": text, "metric": metric, "of": of, "most": factor}


def least(metric, of, factor, text):
    return {"text": text, "metric": metric, "of": of, "least": factor}


ROWS = [
    {
        "name": "small, 16 connections",
        "title": "100 B records one by one, 16 connections, depth 5",
        "kind": "produce",
        "command": f"{SMALL} --connections 16 --depth 5 --write-caching",
        "work": {"kafka": "--requests 150000", "jackdaw": "--requests 1500000", "echo": "--requests 2000000"},
        "show": [CPU_REQUEST, RATE],
        "aims": [
            cpu(CPU_REQUEST, "1/7"),
            least(RATE, "echo", 0.55, "rate ≥ 55 % of the echo's"),
        ],
        "count_syscalls": True,
    },
    {
        "name": "small, 16 partitions",
        "title": "the same over 16 partitions",
        "kind": "produce",
        "command": f"{SMALL} --connections 16 --depth 5 --partitions 16 --write-caching",
        "work": {"kafka": "--requests 150000", "jackdaw": "--requests 1500000"},
        "show": [CPU_REQUEST, RATE],
        "aims": [cpu(CPU_REQUEST, "1/7")],
    },
    {
        "name": "small, deep",
        "title": "100 B records one by one, 4 connections, depth 64",
        "kind": "produce",
        "command": f"{SMALL} --connections 4 --depth 64 --write-caching",
        "work": {"kafka": "--requests 150000", "jackdaw": "--requests 4000000", "echo": "--requests 10000000"},
        "show": [CPU_REQUEST, RATE],
        "aims": [least(RATE, "kafka", 20, "rate ≥ 20 × Kafka's")],
    },
    {
        "name": "small, alone",
        "title": "100 B records one by one, 1 connection, depth 1",
        "kind": "produce",
        "command": "produce --record-size 100 --connections 1 --depth 1 --write-caching --warmup 5000",
        "work": {"kafka": "--requests 50000", "jackdaw": "--requests 100000", "echo": "--requests 100000"},
        "show": [CPU_REQUEST, "latency_us.p50", "latency_us.p99"],
        "aims": [
            cpu(CPU_REQUEST, "1/2"),
            most(CPU_REQUEST, "echo", 1.3, "CPU ≤ 1.3 × the echo's"),
            most("latency_us.p50", "echo", 1.3, "p50 ≤ 1.3 × the echo's"),
        ],
        "count_syscalls": True,
    },
    {
        "name": "batches of 16 KiB",
        "title": "1 KiB records in 16 KiB batches, 8 connections, 16 partitions",
        "kind": "produce",
        "command": f"{BATCHES} --batch-size 16KiB --write-caching",
        "work": {"kafka": "--bytes 512MiB", "jackdaw": "--bytes 1GiB", "store": "--bytes 1GiB"},
        "show": [CPU_GIB, MIB],
        "aims": [cpu(CPU_GIB, "1/5"), most(CPU_GIB, "store", 1.5, "≤ 1.5 × (receive + CRC + pwrite)")],
    },
    {
        "name": "batches of 64 KiB",
        "title": "1 KiB records in 64 KiB batches",
        "kind": "produce",
        "command": f"{BATCHES} --batch-size 64KiB --write-caching",
        "work": {"kafka": "--bytes 1GiB", "jackdaw": "--bytes 1GiB", "store": "--bytes 1GiB"},
        "show": [CPU_GIB, MIB],
        "aims": [cpu(CPU_GIB, "1/4"), most(CPU_GIB, "store", 1.3, "≤ 1.3 × (receive + CRC + pwrite)")],
    },
    {
        "name": "batches of 800 KB",
        "title": "100 B records in 800 KB batches, 4 connections",
        "kind": "produce",
        "command": "produce --record-size 100 --batch-size 800KB --connections 4 --depth 2 --partitions 16"
        " --warmup 50 --write-caching",
        "work": {"kafka": "--bytes 1GiB", "jackdaw": "--bytes 1GiB", "store": "--bytes 1GiB"},
        "show": [CPU_GIB, MIB],
        "aims": [cpu(CPU_GIB, "1/3"), most(CPU_GIB, "store", 1.2, "≤ 1.2 × (receive + CRC + pwrite)")],
    },
    {
        "name": "durable",
        "title": "durable: acks=all, 16 KiB batches, 16 partitions, 16 connections, depth 32; Kafka with flush.messages=1",
        "kind": "produce",
        "command": f"{MANY} --acks all",
        "work": {"kafka": "--bytes 64MiB --config flush.messages=1", "jackdaw": "--bytes 512MiB"},
        "show": [CPU_GIB, MIB],
        "aims": [
            cpu(CPU_GIB, "1/8"),
            least(MIB, "kafka", 4, "≥ 4 × Kafka's throughput"),
            least(MIB, ("acks=all unsynced", "jackdaw"), 0.9, "≥ 90 % of our own unsynced throughput"),
        ],
    },
    {
        "name": "acks=all unsynced",
        "title": "the same from the page cache (write.caching=true)",
        "kind": "produce",
        "command": f"{MANY} --acks all --write-caching",
        "work": {"jackdaw": "--bytes 512MiB"},
        "show": [CPU_GIB, MIB],
        "aims": [],
    },
    {
        "name": "durable, alone",
        "title": "durable, one 16 KiB batch at a time",
        "kind": "latency",
        "command": "latency --record-size 1KiB --batch-size 16KiB --acks all --warmup 200",
        "work": {"kafka": "--records 2000 --config flush.messages=1", "jackdaw": "--records 2000"},
        "show": ["round_trip_us.p50", "round_trip_us.p99"],
        "aims": [most("round_trip_us.p99", ("fdatasync", "disk"), 2.5, "p99 ≤ 2.5 × the disk's fdatasync p99")],
    },
    {
        "name": "fdatasync",
        "title": "limit: append 16 KiB and fdatasync",
        "kind": "machine",
        "work": {"disk": "limit fdatasync --write-size 16KiB --count 2000"},
        "show": ["fdatasync_us.p50", "fdatasync_us.p99"],
        "aims": [],
    },
    {
        "name": "fetch 1 MiB",
        "title": "fetch 1 MiB from the page cache, 1 connection, depth 2",
        "kind": "consume",
        "command": "consume --fetch-size 1MiB --depth 2 --verify headers --warmup 500",
        "work": {"kafka": "--bytes 4GiB", "jackdaw": "--bytes 4GiB", "send 1MiB": "--bytes 4GiB"},
        "show": [CPU_GIB, MIB],
        "aims": [
            cpu(CPU_GIB, "1/2"),
            least(MIB, ("loopback", "kernel"), 0.8, "≥ 80 % of the raw loopback rate"),
        ],
    },
    {
        "name": "loopback",
        "title": "limit: 1 MiB writes through a loopback socket",
        "kind": "machine",
        "work": {"kernel": "limit loopback --write-size 1MiB --bytes 4GiB"},
        "show": [MIB],
        "aims": [],
    },
    {
        "name": "fetch 64 KiB",
        "title": "fetch 64 KiB, 4 connections, depth 2",
        "kind": "consume",
        "command": "consume --fetch-size 64KiB --connections 4 --depth 2 --verify headers --warmup 2000",
        "work": {"kafka": "--bytes 2GiB", "jackdaw": "--bytes 4GiB", "send 64KiB": "--bytes 4GiB"},
        "show": [CPU_GIB, MIB],
        "aims": [cpu(CPU_GIB, "1/5"), most(CPU_GIB, "send 64KiB", 1.5, "≤ 1.5 × writing the same bytes")],
    },
    {
        "name": "end to end",
        "title": "one record at a time to a waiting consumer",
        "kind": "latency",
        "command": "latency --write-caching",
        "work": {"kafka": "--records 10000", "jackdaw": "--records 20000", "echo": "--records 20000"},
        "show": ["end_to_end_us.p50", "end_to_end_us.p99", "round_trip_us.p50"],
        "aims": [
            most("end_to_end_us.p50", "kafka", 0.5, "p50 ≤ 1/2 of Kafka's"),
            most("end_to_end_us.p99", "kafka", 0.25, "p99 ≤ 1/4 of Kafka's"),
            {
                "text": "p50 ≤ 3 × the echo's round trip",
                "metric": "end_to_end_us.p50",
                "of": "echo",
                "of_metric": "round_trip_us.p50",
                "most": 3,
            },
        ],
    },
    {
        "name": "start",
        "title": "start on an empty directory, then idle, then 1,000 idle connections",
        "kind": "start",
        "work": {"kafka": "", "jackdaw": ""},
        "show": [
            "first_answer_ms", "idle.rss_kib", "idle.anonymous_kib", "idle.cpu_percent",
            "idle_connections.anonymous_bytes_each",
        ],
        "aims": [
            {"text": "first answer ≤ 20 ms", "metric": "first_answer_ms", "most": 20},
            {"text": "idle RSS ≤ 10 MiB", "metric": "idle.rss_kib", "most": 10 * 1024},
            {"text": "idle CPU ≤ 0.1 % of a core", "metric": "idle.cpu_percent", "most": 0.1},
            {"text": "≤ 8 KiB for an idle connection", "metric": "idle_connections.anonymous_bytes_each", "most": 8192},
        ],
    },
]
