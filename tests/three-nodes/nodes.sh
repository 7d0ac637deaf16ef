# shellcheck shell=bash
# Sourced by the programs here. Gives three nodes of the broker under test, which listen on free ports and are ended with the program:
# make_nodes, start_node, stop_node, kill_node, wait_ready, wait_in_sync; and $bootstrap, $scratch.
set -euo pipefail
three=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
jackdaw=${JACKDAW_BIN:?the broker under test; tests/run builds it and sets this}
scratch=$(mktemp -d)
declare -A node_pid
node_port=()
end_nodes() {
  local pid
  for pid in "${node_pid[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
  rm -rf "$scratch"
}
trap end_nodes EXIT

make_nodes() { # [KEY=VALUE...]: their properties, as somebody would write them
  local ports voters='' n
  mapfile -t ports < <(python3 -c '
import socket
sockets = [socket.socket() for _ in range(6)]
for s in sockets: s.bind(("127.0.0.1", 0))
for s in sockets: print(s.getsockname()[1])')
  bootstrap=''
  for n in 1 2 3; do
    voters+=${voters:+,}$n@127.0.0.1:${ports[n + 2]}
    bootstrap+=${bootstrap:+,}127.0.0.1:${ports[n - 1]}
    node_port[n]=${ports[n - 1]}
  done
  for n in 1 2 3; do
    cat >"$scratch/$n.properties" <<PROPERTIES
process.roles=broker,controller
node.id=$n
controller.quorum.voters=$voters
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:${ports[n - 1]},CONTROLLER://127.0.0.1:${ports[n + 2]}
inter.broker.listener.name=PLAINTEXT
log.dirs=$scratch/data-$n
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
group.initial.rebalance.delay.ms=0
$(printf '%s\n' "$@")
PROPERTIES
  done
}

start_node() { # N
  : >"$scratch/$1.out"
  "$jackdaw" serve --config "$scratch/$1.properties" >"$scratch/$1.out" 2>>"$scratch/$1.log" </dev/null &
  node_pid[$1]=$!
}
wait_ready() { # N
  local _
  for _ in $(seq 600); do
    ! grep -q '^ready: ' "$scratch/$1.out" || return 0
    kill -0 "${node_pid[$1]}" 2>/dev/null || break
    sleep 0.05
  done
  echo "node $1 did not get ready: $(tail -n 5 "$scratch/$1.log" "$scratch/$1.out")" >&2
  return 1
}
start_nodes() {
  local n
  for n in 1 2 3; do start_node $n; done
  for n in 1 2 3; do wait_ready $n; done
}
end_node() { # N SIGNAL: gives its exit status
  local pid=${node_pid[$1]}
  unset "node_pid[$1]"
  kill -"$2" "$pid"
  wait "$pid"
}
stop_node() { end_node "$1" TERM; }
kill_node() { end_node "$1" KILL 2>/dev/null || true; }

status() { "$jackdaw" cluster status --json --bootstrap-server "$bootstrap"; }
in_sync() {
  status >"$scratch/status" 2>&1 || return 1
  local fact
  for fact in '"fenced_brokers": \[\]' '"brokers": 3' '"without_leader": 0' '"under_replicated": 0' '"moving": 0'; do
    grep -q "$fact" "$scratch/status" || return 1
  done
}
wait_in_sync() {
  local _
  for _ in $(seq 300); do ! in_sync || return 0; sleep 0.1; done
  echo "not in sync after 30 s: $(tr -d '\n' <"$scratch/status")" >&2
  return 1
}
