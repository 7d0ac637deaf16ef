"""From what `benches/log` found to its part of RESULTS.md."""

import report
from report import number

BEGIN, END = "<!-- log figures: begin (written by benches/log) -->", "<!-- log figures: end -->"

# What each broker says of a finished pass of its cleaner.
CLEANED = {
    "kafka": r"([\d,.]+) MB of log processed in ([\d,.]+) seconds \(([\d,.]+) MB/sec\)",
    "jackdaw": r"compacted .*bytes_read=(\d+) .*seconds=([\d.]+)",
}

UNITS = {
    "warm_s_per_gib": "s per GiB after kill -9, warm",
    "cold_s_per_gib": "s per GiB after kill -9, cold",
    "clean_s": "s after a clean stop",
    "read_s": "s to read 4 GiB",
    "mib_per_second": "MiB/s",
    "cpu_s": "CPU-s",
    "seconds": "s",
}

# Part, figure, whose, of whom (or none), bound, and how it reads.
AIMS = [
    ("recovery", "cold_s_per_gib", "jackdaw", None, "most", 1.5, "≤ 1.5 s per GiB, cold"),
    ("recovery", "warm_s_per_gib", "jackdaw", None, "most", 0.3, "≤ 0.3 s per GiB, warm"),
    ("upkeep", "p99.9_us", "rolls, deletes, compaction", "idle log", "most", 2, "p99.9 ≤ 2 × that of an idle log"),
    ("cold reader", "beside_p99_us", "jackdaw", "alone_p99_us", "most", 1.5, "p99 beside a cold reader ≤ 1.5 × alone"),
    ("compaction, none", "mib_per_second", "jackdaw", "kafka", "least", 3, "≥ 3 × Kafka's cleaner"),
    ("compaction, none", "mib_per_second", "jackdaw", "disk", "least", 0.6, "or ≥ 60 % of the disk's rate"),
    ("compaction, lz4", "mib_per_second", "jackdaw", "kafka", "least", 3, "lz4: ≥ 3 × Kafka's cleaner"),
    ("durable", "mib_per_second", "synced", "page cache", "least", 0.9, "≥ 90 % of the unsynced throughput"),
    ("durable", "p99_us", "synced, 500/s", "disk", "most", 2.5, "p99 ≤ 2.5 × the disk's fdatasync p99"),
]


def cleaned(system, found):
    """MiB/s and seconds of a pass, from the match of `CLEANED`."""
    if system == "kafka":
        return float(found[3].replace(",", "")), float(found[2].replace(",", ""))
    seconds = max(float(found[2]), 1e-3)
    return int(found[1]) / (1 << 20) / seconds, seconds


def unit(metric):
    if metric in UNITS:
        return UNITS[metric]
    what, _, _ = metric.rpartition("_us")
    return f"µs {what.replace('_', ' ')}"


def judge(found, middle, aim):
    part, metric, whose, of, bound, limit, text = aim
    values = found.get(part, {}).get(whose, {}).get(metric)
    if not values:
        return None
    measured = middle(values)
    if of is not None:
        other = found[part].get(of, {}).get(metric) or found[part][whose].get(of)
        if not other:
            return None
        measured /= middle(other)
    holds = measured <= limit if bound == "most" else measured >= limit
    return f"| {part} | {text} | {number(measured)} | {'holds' if holds else '**misses**'} |"


def markdown(results, middle):
    machine, found = results["machine"], results["found"]
    lines = [
        f"{machine['date']}, commit {machine['commit']}, {machine['cores']} cores ({machine['cpu']}), "
        f"{machine['memory_gib']} GiB, Linux {machine['kernel']}. Cells are medians of up to {results['rounds']} rounds.",
        "",
        "| part | who | figure | value |",
        "|---|---|---|---|",
    ]
    for part, whos in found.items():
        for who, metrics in whos.items():
            for metric, values in metrics.items():
                lines.append(f"| {part} | {who} | {unit(metric)} | {number(middle(values))} |")
    lines += ["", "| part | aim | measured | |", "|---|---|---|---|"]
    lines += [line for aim in AIMS if (line := judge(found, middle, aim))]
    return "\n".join(lines) + "\n"


def write(path, table):
    report.write(path, table, BEGIN, END)
