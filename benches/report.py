"""From the runs that `benches/run` collected to the table of RESULTS.md."""

import statistics

BEGIN, END = "<!-- figures: begin (written by benches/run) -->", "<!-- figures: end -->"
# For these, more is better; for all others less.
MORE_IS_BETTER = {"requests_per_second", "mib_per_second", "records_per_second"}
UNITS = {
    "broker.cpu_us_per_request": "µs CPU a request",
    "broker.cpu_seconds_per_gib": "CPU-s per GiB",
    "requests_per_second": "requests/s",
    "mib_per_second": "MiB/s",
    "first_answer_ms": "ms to the first answer",
    "idle.rss_kib": "KiB RSS idle",
    "idle.anonymous_kib": "KiB of it anonymous",
    "idle.cpu_percent": "% of a core idle",
    "idle_connections.anonymous_bytes_each": "bytes per idle connection",
}


def unit(metric):
    if metric in UNITS:
        return UNITS[metric]
    what, _, quantile = metric.partition("_us.")
    return f"µs {what.replace('_', ' ')} {quantile}"


def value(run, metric):
    head, _, last = metric.partition(".")
    found = run.get(head)
    if last:
        found = found.get(last) if isinstance(found, dict) else None
    return found


def values(runs, metric):
    found = [value(run, metric) for run in runs if "failed" not in run]
    return [number for number in found if number is not None]


def best(numbers, metric):
    return max(numbers) if metric in MORE_IS_BETTER else min(numbers)


def number(x):
    if abs(x) >= 1000:
        return f"{x:,.0f}"
    return f"{x:.1f}" if abs(x) >= 10 else f"{x:.3g}"


def cell(runs, metric):
    found = values(runs, metric)
    if not found:
        return "failed" if runs else "-"
    return f"{number(best(found, metric))} / {number(statistics.median(found))}"


def brief(row, run):
    shown = [(metric, value(run, metric)) for metric in row["show"]]
    return ", ".join(f"{number(x)} {unit(metric)}" for metric, x in shown if x is not None)


def slim(results):
    """Without what the table never needs: the file is kept in the repository."""
    for systems in results["runs"].values():
        for runs in systems.values():
            for at, run in enumerate(runs):
                run.pop("command", None)
                if at > 0:
                    run.pop("settings", None)  # those of the first run
    return results


def judged(aim, row, results):
    """(measured ratio or value by medians, by bests, whether the aim is met), or None."""
    runs = results["runs"]
    ours = values(runs.get(row["name"], {}).get("jackdaw", []), aim["metric"])
    if not ours:
        return None
    pairs = [(statistics.median(ours), best(ours, aim["metric"]))]
    of = aim.get("of")
    if of:
        name, system = of if isinstance(of, tuple) else (row["name"], of)
        metric = aim.get("of_metric", aim["metric"])
        if (name, system) == ("fdatasync", "disk"):
            metric = "fdatasync_us.p99"
        theirs = values(runs.get(name, {}).get(system, []), metric)
        if not theirs:
            return None
        pairs.append((statistics.median(theirs), best(theirs, metric)))
        median, top = pairs[0][0] / pairs[1][0], pairs[0][1] / pairs[1][1]
    else:
        median, top = pairs[0]
    met = median <= aim["most"] if "most" in aim else median >= aim["least"]
    return median, top, met


def markdown(results):
    from rows import ROWS

    m = results["machine"]
    lines = [
        f"{m['date']}, commit {m['commit']}, {m['cores']} cores ({m['cpu']}), {m['memory_gib']} GiB, Linux {m['kernel']};"
        f" {results['rounds']} rounds. Cells are best / median.",
        "",
        "| work | figure | Kafka 4.3.1 | Jackdaw | limit |",
        "|---|---|---|---|---|",
    ]
    for row in ROWS:
        systems = results["runs"].get(row["name"])
        if not systems:
            continue
        limits = [name for name in systems if name not in ("kafka", "jackdaw")]
        for at, metric in enumerate(row["show"]):
            limit = cell(systems[limits[0]], metric) + f" ({limits[0]})" if limits else "-"
            if limits and not values(systems[limits[0]], metric):
                limit = "-"
            title = row["title"] if at == 0 else ""
            kafka, own = (cell(systems.get(name, []), metric) for name in ("kafka", "jackdaw"))
            lines.append(f"| {title} | {unit(metric)} | {kafka} | {own} | {limit} |")
    lines += ["", "| work | aim | measured (ratio of medians; of bests) | |", "|---|---|---|---|"]
    for row in ROWS:
        for aim in row["aims"]:
            found = judged(aim, row, results)
            if found:
                median, top, met = found
                lines.append(
                    f"| {row['name']} | {aim['text']} | {number(median)}; {number(top)} | {'holds' if met else '**misses**'} |"
                )
    lines += extras(results)
    return "\n".join(lines) + "\n"


def extras(results):
    lines = []
    for name, calls in results["syscalls"].items():
        if calls:
            total = sum(calls.values())
            detail = ", ".join(f"{call} {count:.2f}" for call, count in sorted(calls.items(), key=lambda c: -c[1]))
            lines.append(f"- system calls of Jackdaw for each request, {name}: **{total:.2f}** ({detail})")
    for system, memory in results["memory"].items():
        peak, now, anonymous = (memory[key] / 1024 for key in ("VmHWM", "VmRSS", "RssAnon"))
        lines.append(
            f"- RSS of {system} over all rows and rounds: peak {peak:.0f} MiB; at the end {now:.0f} MiB, of it {anonymous:.0f} MiB anonymous"
        )
    return ["", *lines] if lines else []


def write(path, table, begin=BEGIN, end=END):
    """Puts the table between the marks of RESULTS.md; the words around it are written by hand."""
    head, rest = path.read_text().split(begin)
    tail = rest.split(end)[1]
    path.write_text(f"{head}{begin}\n\n{table}\n{end}{tail}")
