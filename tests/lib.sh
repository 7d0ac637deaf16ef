# shellcheck shell=bash
# Sourced by `run` and by what starts brokers of its own. Gives start_broker, stop_broker, kill_broker.
jackdaw=${JACKDAW_BIN:?the broker under test; tests/run builds it and sets this}

declare -A broker_pid

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

start_broker() { # DIR [LISTEN] [KEY=VALUE...]: start on DIR/data and wait until it is ready; its address is then in $address
  local dir=$1 listen=127.0.0.1:0 overrides=() pair
  shift
  for pair; do
    case $pair in
      listen=*) listen=${pair#listen=} ;;
      *) overrides+=(--override "$pair") ;;
    esac
  done
  mkdir -p "$dir"
  "$jackdaw" serve --data-dir "$dir/data" --listen "$listen" "${overrides[@]}" >"$dir/out" 2>>"$dir/log" </dev/null &
  broker_pid[$dir]=$!
  address=''
  for _ in $(seq 600); do
    address=$(sed -n 's/^ready: .*PLAINTEXT:\/\/\([0-9.:]*\).*/\1/p' "$dir/out" | head -n 1)
    [[ -z $address ]] || return 0
    kill -0 "${broker_pid[$dir]}" 2>/dev/null || break
    sleep 0.05
  done
  echo "the broker in $dir did not get ready: $(tail -n 5 "$dir/log" "$dir/out")" >&2
  return 1
}

end_broker() { # DIR SIGNAL
  kill -"$2" "${broker_pid[$1]}"
  wait "${broker_pid[$1]}" 2>/dev/null
}
stop_broker() { end_broker "$1" TERM; }
kill_broker() { end_broker "$1" KILL || true; }
