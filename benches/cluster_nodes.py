"""Three processes on loopback that are one cluster, ours or Apache Kafka's, and the questions that are put to them."""

import base64
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "clients"))

from wire import Broker, Reader, string  # noqa: E402

PEER = str(HERE / "peers" / "kafka")
METADATA, LIST_OFFSETS, CREATE_TOPICS, DELETE_TOPICS, DESCRIBE_CONFIGS = 3, 2, 19, 20, 32
ELECT_LEADERS, ALTER_CONFIGS, DESCRIBE_QUORUM = 43, 44, 55
IDS = (1, 2, 3)
# Every wait ends after so long.
PATIENCE_S = {"jackdaw": 60, "kafka": 180}

# Process ids of all that runs, to be ended whatever happens.
RUNNING = set()


class Connection(Broker):
    """A connection on which answers may also be awaited later."""

    def __init__(self, port, timeout=10):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, api, version, body):
        request = struct.pack(">hhi", api, version, 1) + string("figures") + body
        self.socket.sendall(struct.pack(">i", len(request)) + request)

    def answer(self):
        return Reader(self.receive(struct.unpack(">i", self.receive(4))[0])[4:])

    def receive(self, size):
        data, at = bytearray(size), 0
        while at < size:
            got = self.socket.recv_into(memoryview(data)[at:])
            if not got:
                raise ConnectionError("the broker closed the connection")
            at += got
        return bytes(data)

    def close(self):
        self.socket.close()


def metadata_body(topics):
    return struct.pack(">i", len(topics)) + b"".join(map(string, topics)) + b"\0"


def read_metadata(reply):
    """Topic -> (error, [(index, error, leader, in-sync replicas)]), of Metadata 7."""
    reply.take("i")
    reply.array(lambda: (reply.take("i"), reply.string(), reply.take("i"), reply.string()))
    reply.string(), reply.take("i")
    numbers = struct.Struct(">hiii")

    def integers():
        (count,) = struct.unpack_from(">i", reply.data, reply.at)
        found = struct.unpack_from(f">{count}i", reply.data, reply.at + 4)
        reply.at += 4 + 4 * count
        return found

    def partition():
        error, index, leader, _ = numbers.unpack_from(reply.data, reply.at)
        reply.at += numbers.size
        integers()
        isr = integers()
        integers()
        return index, error, leader, isr

    def topic():
        error, name = reply.take("h"), reply.string()
        reply.take("b")
        return name, (error, reply.array(partition))

    return dict(reply.array(topic))


def compact(text):
    return bytes([len(text) + 1]) + text.encode()


class Cluster:
    """Three nodes, combined brokers and controllers, with the settings that `peers/kafka config` prints."""

    def __init__(self, name, folder, binary=None, settings=()):
        self.name, self.folder, self.binary, self.settings = name, Path(folder), binary, list(settings)
        self.port = free_ports()
        self.processes, self.commands, self.connections = {}, {}, {}
        self.patience = PATIENCE_S[name]

    def start(self):
        self.folder.mkdir(parents=True)
        (self.prepare_kafka if self.name == "kafka" else self.prepare_jackdaw)()
        for node in IDS:
            self.start_node(node)
        self.wait("three brokers", lambda: len(self.brokers()) == 3)
        return self

    def write_config(self, node):
        words = [PEER, "config", str(self.folder), str(node), "3", str(self.port)]
        config = subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout
        path = self.folder / f"{node}.properties"
        path.write_text(config + "".join(f"{setting}\n" for setting in self.settings))
        return str(path)

    def prepare_jackdaw(self):
        for node in IDS:
            self.commands[node] = [self.binary, "serve", "--config", self.write_config(node)]

    def prepare_kafka(self):
        """As `peers/kafka start` does, but each node by itself."""
        cluster_id = base64.urlsafe_b64encode(b"A" + os.urandom(15)).decode().rstrip("=")
        for node in IDS:
            config = self.write_config(node)
            self.commands[node] = [PEER, "run", "kafka.Kafka", config]
            words = [PEER, "run", "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", config]
            subprocess.run(words, check=True, capture_output=True, timeout=self.patience)

    def start_node(self, node):
        with open(self.folder / f"{node}.log", "ab") as log:
            # The heap is that of Kafka's own scripts; ours takes no notice.
            environment = {**os.environ, "KAFKA_TOOL_HEAP": "1G"}
            process = subprocess.Popen(self.commands[node], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        self.processes[node] = process
        RUNNING.add(process.pid)

    def signal(self, node, how):
        """Ends a node's process; the moment at which it was told to."""
        began = time.monotonic()
        self.processes[node].send_signal(how)
        self.connections.pop(node, None)
        return began

    def reap(self, node):
        """Waits until a node that was told to end has done so; the moment."""
        process = self.processes.pop(node)
        try:
            process.wait(self.patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise RuntimeError(f"{self.name} {node} did not end within {self.patience} s") from None
        finally:
            RUNNING.discard(process.pid)
        return time.monotonic()

    def stop(self):
        for node in list(self.processes):
            self.signal(node, signal.SIGKILL)
            self.reap(node)
        shutil.rmtree(self.folder, ignore_errors=True)

    def bootstrap(self):
        return ",".join(f"127.0.0.1:{self.port + node - 1}" for node in IDS)

    def address(self, node):
        return f"127.0.0.1:{self.port + node - 1}"

    def cpu(self):
        """Seconds of all threads of all nodes, to the microsecond: ticks are too coarse."""
        return sum(time.clock_gettime(~process.pid << 3 | 2) for process in self.processes.values())

    def wait(self, what, look, pause=0.02, patience=None):
        until = time.monotonic() + (patience or self.patience)
        while time.monotonic() < until:
            try:
                if found := look():
                    return found
            except (OSError, struct.error):
                pass  # somebody is just coming or going
            time.sleep(pause)
        logs = {node: (self.folder / f"{node}.log").read_text(errors="replace")[-400:] for node in IDS}
        raise RuntimeError(f"{self.name}: waited in vain for {what}; logs end with {logs}")

    def ask(self, node, api, version, body):
        """A request to a node, on the connection that is kept to it."""
        if node not in self.connections:
            self.connections[node] = Connection(self.port + node - 1)
        try:
            return self.connections[node].call(api, version, body)
        except OSError:
            self.connections.pop(node).close()
            raise

    def ask_any(self, api, version, body):
        error = ConnectionError("no node runs")
        for node in list(self.processes):
            try:
                return self.ask(node, api, version, body)
            except OSError as failed:
                error = failed
        raise error

    def brokers(self):
        reply = self.ask_any(METADATA, 7, metadata_body([]))
        reply.take("i")
        return [row[0] for row in reply.array(lambda: (reply.take("i"), reply.string(), reply.take("i"), reply.string()))]

    def topics(self, names, node=None):
        body = metadata_body(names)
        return read_metadata(self.ask(node, METADATA, 7, body) if node else self.ask_any(METADATA, 7, body))

    def create(self, name, leaders, configs=()):
        """A topic with three replicas of each partition, led at first by these nodes; waits until all is in sync."""
        assignments = b"".join(
            struct.pack(">iiiii", index, 3, *rotated(leader)) for index, leader in enumerate(leaders)
        )
        settings = b"".join(string(key) + string(value) for key, value in configs)
        body = struct.pack(">i", 1) + string(name) + struct.pack(">ih", -1, -1)
        body += struct.pack(">i", len(leaders)) + assignments + struct.pack(">i", len(configs)) + settings
        body += struct.pack(">ib", 60_000, 0)

        def made():
            reply = self.ask_any(CREATE_TOPICS, 4, body)
            reply.take("i")
            _, error, text = reply.array(lambda: (reply.string(), reply.take("h"), reply.string()))[0]
            # 36: an earlier try made it. 7, 38, 41: not now.
            if error not in (0, 7, 36, 38, 41):
                raise RuntimeError(f"{self.name}: cannot create {name}: {error} {text}")
            return error in (0, 36)

        for connection in self.connections.values():
            connection.socket.settimeout(self.patience)
        self.wait(f"{name} to be made", made)
        self.wait_whole([name], len(leaders))

    def delete(self, *names):
        body = struct.pack(">i", len(names)) + b"".join(map(string, names)) + struct.pack(">i", 60_000)
        self.ask_any(DELETE_TOPICS, 1, body)

    def wait_whole(self, names, partitions, pause=0.02):
        """Until every partition of each topic has a leader and three replicas in sync, as every node sees it."""
        def whole(node):
            topics = self.topics(names, node)
            return len(topics) == len(names) and all(
                error == 0 and len(found) == partitions and all(p[1] == 0 and p[2] > 0 and len(p[3]) == 3 for p in found)
                for error, found in topics.values()
            )

        for node in list(self.processes):
            self.wait(f"all replicas of {names[0]} in sync", lambda: whole(node), pause)

    def controller(self):
        """The active controller: the leader of the metadata quorum."""
        head = struct.pack(">hhi", DESCRIBE_QUORUM, 0, 1) + string("figures") + b"\0"
        body = head + b"\x02" + compact("__cluster_metadata") + b"\x02" + struct.pack(">i", 0) + b"\0\0\0"

        def ask():
            for node in list(self.processes):
                connection = Connection(self.port + node - 1)
                try:
                    connection.socket.sendall(struct.pack(">i", len(body)) + body)
                    reply = Reader(connection.receive(struct.unpack(">i", connection.receive(4))[0])[5:])
                finally:
                    connection.close()
                if reply.take("h") == 0 and reply.take("b") == 2:
                    name_and_count = reply.take("b")
                    reply.at += name_and_count
                    _, error, leader = reply.take("i"), reply.take("h"), reply.take("i")
                    if error == 0 and leader in self.processes:
                        return leader
            return None

        return self.wait("an active controller", ask)

    def elect_preferred(self):
        """The first replica of each partition leads it again."""
        self.ask_any(ELECT_LEADERS, 1, struct.pack(">bii", 0, -1, 60_000))

    def unserved(self, node, names, partitions):
        """How many of a node's partitions it does not answer for as their leader: ListOffsets of their ends."""
        body = struct.pack(">ibi", -1, 0, len(names))
        for name in names:
            wanted = b"".join(struct.pack(">iiq", index, -1, -1) for index in partitions[name])
            body += string(name) + struct.pack(">i", len(partitions[name])) + wanted
        reply = self.ask(node, LIST_OFFSETS, 4, body)
        reply.take("i")
        row = struct.Struct(">ihqqi")
        unserved = 0
        for _ in range(reply.take("i")):
            reply.string()
            for _ in range(reply.take("i")):
                unserved += row.unpack_from(reply.data, reply.at)[1] != 0
                reply.at += row.size
        return unserved


def rotated(first):
    """All nodes, `first` first."""
    return [first, *(IDS[(IDS.index(first) + step) % 3] for step in (1, 2))]


def free_ports():
    """The first of the ports that a cluster needs (controllers listen 101 above), below those that connections are given."""
    for first in range(21_000, 31_000, 250):
        if all(is_free(first + offset) for offset in (0, 1, 2, 101, 102, 103)):
            return first
    raise RuntimeError("no free ports between 21000 and 31000")


def is_free(port):
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False


def end_all():
    """Ends what a run that failed has left."""
    for pid in list(RUNNING):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
