"""From what `benches/cluster` found to its part of RESULTS.md."""

import statistics

import report
from report import number

BEGIN, END = "<!-- cluster figures: begin (written by benches/cluster) -->", "<!-- cluster figures: end -->"

# Figures of which every sample counts: p50, p99 and the largest are told, of all others the median.
SPREADS = {"failover": "ms", "propagation": "ms"}

# Row, whose figure, which, how it is taken of the samples, of whom (or none), how much of that at most, and how it reads.
AIMS = [
    ("failover", "jackdaw", "leader, java", "p99", None, 2000, "kill -9 of a leader: p99 ≤ 2 s"),
    ("failover", "jackdaw", "leader, java", "max", None, 4000, "kill -9 of a leader: max ≤ 4 s"),
    ("failover", "jackdaw", "leader+controller, java", "p99", None, 2000, "kill -9 of a leader that is the controller: p99 ≤ 2 s"),
    ("failover", "jackdaw", "leader+controller, java", "max", None, 4000, "kill -9 of a leader that is the controller: max ≤ 4 s"),
    ("failover", "jackdaw", "clean stop, java", "max", None, 300, "clean shutdown ≤ 0.3 s"),
    ("replicated produce", "jackdaw", "CPU-s per GiB", "median", "kafka", 0.25, "CPU per GiB, synced, ≤ 1/4 of Kafka's unsynced"),
    ("replicated produce", "jackdaw, page cache", "CPU-s per GiB", "median", "kafka", 0.25, "CPU per GiB, unsynced, ≤ 1/4 of Kafka's unsynced"),
    ("replicated produce", "jackdaw", "CPU-s per GiB", "median", "kafka, flush.messages=1", 0.25, "CPU per GiB, synced, ≤ 1/4 of Kafka's with flush.messages=1"),
    ("replicated produce", "jackdaw", "p99 us", "median", "kafka, flush.messages=1", 1, "p99 at 1,000 records/s ≤ Kafka's with flush.messages=1"),
    ("replicated produce", "jackdaw", "p99 us", "median", "kafka", None, "p99 at 1,000 records/s beside Kafka unsynced"),
    ("leader change", "jackdaw", "kill -9: answering s", "max", None, 2, "leader change of 10,000 partitions ≤ 2 s, kill -9"),
    ("leader change", "jackdaw", "SIGTERM: answering s", "max", None, 2, "leader change of 10,000 partitions ≤ 2 s, SIGTERM"),
    ("propagation", "jackdaw", "topic ms", "p99", None, 50, "a new topic is seen elsewhere: p99 ≤ 50 ms"),
    ("propagation", "jackdaw", "setting ms", "p99", None, 50, "a setting is seen elsewhere: p99 ≤ 50 ms"),
    ("idle", "jackdaw", "% of a core", "median", None, 2, "idle with 1,000 partitions ≤ 2 % of a core in all"),
]


def quantile(values, share):
    """The smallest value that so many are not above."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-len(ordered) * share // 100) - 1))]


TAKEN = {"median": statistics.median, "max": max, "p99": lambda values: quantile(values, 99)}


def spread(values):
    if not values:
        return "-"
    return f"p50 {number(quantile(values, 50))}, p99 {number(quantile(values, 99))}, max {number(max(values))} (of {len(values)})"


def cell(row, values):
    if not values:
        return "-"
    if row in SPREADS:
        return " / ".join(number(x) for x in (quantile(values, 50), quantile(values, 99), max(values))) + f" of {len(values)}"
    return number(statistics.median(values)) + (f" ({number(min(values))} to {number(max(values))})" if len(values) > 1 else "")


def judge(found, aim):
    row, who, metric, how, of, limit, text = aim
    values = found.get(row, {}).get(who, {}).get(metric)
    if not values:
        return None
    measured = TAKEN[how](values)
    if of is not None:
        other = found[row].get(of, {}).get(metric)
        if not other:
            return None
        measured /= TAKEN[how](other)
    verdict = "stated" if limit is None else "holds" if measured <= limit else "**misses**"
    return f"| {text} | {number(measured)} | {verdict} |"


def markdown(results):
    machine, found = results["machine"], results["found"]
    lines = [
        f"{machine['date']}, commit {machine['commit']}, {machine['cores']} cores ({machine['cpu']}), "
        f"{machine['memory_gib']} GiB, Linux {machine['kernel']}; {results['rounds']} rounds. Cells of failover and propagation are "
        "p50 / p99 / max of all samples, the others medians (and ranges).",
        "",
        "| row | figure | who | value |",
        "|---|---|---|---|",
    ]
    for row, whos in found.items():
        metrics = list(dict.fromkeys(metric for figures in whos.values() for metric in figures))
        for metric in metrics:
            for who, figures in whos.items():
                if metric in figures:
                    unit = f" ({SPREADS[row]})" if row == "failover" else ""
                    lines.append(f"| {row} | {metric}{unit} | {who} | {cell(row, figures[metric])} |")
    lines += ["", "| aim | measured | |", "|---|---|---|"]
    lines += [line for aim in AIMS if (line := judge(found, aim))]
    lines += [f"- failed: {failure}" for failure in results["failed"]]
    return "\n".join(lines) + "\n"


def write(path, table):
    report.write(path, table, BEGIN, END)
