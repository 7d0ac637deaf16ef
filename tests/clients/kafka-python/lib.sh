# shellcheck shell=bash
# Sourced by the kafka-python folders: runs client.py on the version in the folder's name.
build() { # VERSION
  venv "kafka-python==$1" lz4 python-snappy zstandard crc32c
}
install build "${name##*-}"
PYTHONPATH=$clients/python "$home/bin/python" "$clients/kafka-python/client.py" "$bootstrap" "$prefix"
