# shellcheck shell=bash
# Sourced by every suite's `run BOOTSTRAP`, on top of ../lib.sh. A suite is other people's tests, taken from a package registry,
# one process per test; $home/tests lists them as `TEST<TAB>COMMAND`.
unset CARGO_TARGET_DIR # a suite builds where it lies
suites=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../clients/lib.sh
source "$suites/../clients/lib.sh"
home=$(dirname "$home")/suite-$name
scratch=$(mktemp -d)
wire list >"$scratch/before"
sweep() { # whatever is new, as the tests choose their own names: so a suite runs alone on a broker
  wire list | { grep -vxFf "$scratch/before" || true; } | wire delete
  rm -rf "$scratch"
}

crate_source() { # CRATE VERSION: copy what the registry ships of this crate to ./src
  mkdir -p fetch/src && touch fetch/src/lib.rs
  printf '[package]\nname = "fetch"\nversion = "0.0.0"\nedition = "2021"\n[dependencies]\n%s = "=%s"\n' "$1" "$2" >fetch/Cargo.toml
  cargo metadata --format-version 1 --manifest-path fetch/Cargo.toml |
    python3 -c 'import json,os,sys; print(*(os.path.dirname(p["manifest_path"]) for p in json.load(sys.stdin)["packages"] if p["name"] == sys.argv[1]))' "$1" >where
  cp -r "$(cat where)" src
}

cargo_tests() { # CARGO ARGS...: build the integration tests of ./src and list them
  local binary
  cd src
  cargo test --no-run --test '*' "$@" --message-format json |
    python3 -c 'import json,sys; print(*(m["executable"] for m in map(json.loads, sys.stdin) if m.get("executable") and m["target"]["kind"] == ["test"]), sep="\n")' >../binaries
  while read -r binary; do
    "$binary" --list --format terse | sed -n "s#^\(.*\): test\$#$(basename "$binary" | sed 's/-[0-9a-f]*$//')::\1\t$binary --exact \1 --nocapture#p"
  done <../binaries >../tests
}

run_tests() { # OPTIONS...: run $home/tests, compare with the committed lists: those that Apache Kafka passes, and of these those that
  # we leave to later. With ON_KAFKA=1 the broker is Apache Kafka itself, which passes the latter too.
  local later=(--later "$here/later.txt")
  [[ -z ${ON_KAFKA:-} ]] || later=()
  "$suites/one_by_one.py" --name "$name" --expected "$here/expected-kafka-4.3.1.txt" "${later[@]}" "$@" <"$home/tests"
}
