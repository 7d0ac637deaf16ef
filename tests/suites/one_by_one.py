#!/usr/bin/env python3
"""Runs `TEST<TAB>COMMAND` lines, one process per test; prints `PASS|FAIL|SKIP<TAB>test<TAB>seconds<TAB>first error`.
Succeeds if every test that passes on Apache Kafka (--expected: such a report) passes here, but for those that are named, each with
its reason, in --later (`test<TAB>reason`). These must fail: one that passes has to leave that list, unless its reason
begins with "either way": then it races with a clock."""
import argparse
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

options = argparse.ArgumentParser()
options.add_argument("--name", required=True)
options.add_argument("--expected", required=True)
options.add_argument("--later")
options.add_argument("--jobs", type=int, default=2)
options.add_argument("--limit", type=int, default=60, help="seconds per test")
options.add_argument("--skipped", default=r"(?!)", help="pattern in the output of a test that skipped itself")
options.add_argument("--error", default=r"panicked|rror", help="pattern of the line to show of a failure")
options = options.parse_args()


def run(line):
    test, command = line.rstrip("\n").split("\t")
    start = time.monotonic()
    try:
        done = subprocess.run(command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=options.limit)
        output, failed = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout.decode(errors="replace")), done.returncode != 0
    except subprocess.TimeoutExpired as limit:
        output, failed = f"error: not finished after {limit.timeout} s", True
    seconds = time.monotonic() - start
    error = ""
    if failed:
        lines = [text.strip() for text in output.splitlines() if text.strip()]
        error = next((text for text in lines if re.search(options.error, text)), lines[-1] if lines else "")[:160]
    result = "FAIL" if failed else "SKIP" if re.search(options.skipped, output) else "PASS"
    print(result, test, f"{seconds:.1f}", error.replace("\t", " "), sep="\t", flush=True)
    return result, test


def rows(path):
    with open(path) as file:
        return [line.rstrip("\n").split("\t") for line in file if line.strip() and not line.startswith("#")]


def report(results, expected, later):
    """The closing lines; True if all is as it should be."""
    failures = [f"{test}: passes on Apache Kafka" for test in expected if test not in later and results.get(test) != "PASS"]
    failures += [f"{test}: passes, so it must leave later.txt" for test, reason in later.items()
                 if results.get(test) == "PASS" and not reason.startswith("either way")]
    failures += [f"{test}: in later.txt, but Apache Kafka does not pass it either" for test in later if test not in expected]
    for failure in failures:
        print(f"FAIL {options.name} {failure}")
    for test, reason in later.items():
        print(f"later {options.name} {test}: {reason}")
    if not failures:
        print(f"ok {options.name} {len(expected) - len(later)} of the {len(expected)} tests that pass on Apache Kafka")
    return not failures


lines = list(sys.stdin)
with ThreadPoolExecutor(options.jobs) as pool:
    outcomes = list(pool.map(run, lines))
results = {test: result for result, test in outcomes}
expected = [row[1] for row in rows(options.expected) if row[0] == "PASS"]
later = dict(rows(options.later) if options.later else [])
# Some of these tests race with clocks of their own and fail now and then on Apache Kafka too, on a busy machine: once more, alone.
for line, (result, test) in zip(lines, outcomes):
    if result != "PASS" and test in expected and test not in later:
        print(f"again {options.name} {test}")
        results[test] = run(line)[0]
sys.exit(not report(results, expected, later))
