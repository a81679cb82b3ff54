# SPDX-License-Identifier: BSD-2-Clause
"""Messages that no honest front end would send, over the real socket.

Each one is answered by a failure, ignored, or costs its sender the connection; the port's last
error says what was wrong; two other guests exchange frames without loss all the time; and when the
sender has gone, no descriptor and no mapping of its memory is left.
"""
import fcntl
import os
import random
import re
import select
import socket
import struct
import tempfile

import pytest

from vx.base import wait_for

import rawfe as r
from rawfe import GPA, UVA
from vxnet import Vfe, on_trial, port

U64, STATE = struct.Struct("=Q").pack, struct.Struct("=II").pack
HUNG_UP, REFUSED = "hung up", "refused"


@pytest.fixture
def front_end(lab):
    with on_trial(lab, 1 << 20) as fe:
        yield fe
    # The port serves the next front end.
    Vfe(lab, lab.socket(0), "probe").result()


def outcome(fe, request, payload=b"", fds=()):
    """What comes of a request that asks for an acknowledgement."""
    try:
        fe.send(request, payload, fds, r.VERSION | r.NEED_REPLY)
        answer, data = fe.reply()
    except ConnectionError:
        return HUNG_UP
    assert answer == request
    return REFUSED if struct.unpack("=Q", data)[0] else "granted"


def alive(fe):
    """The connection goes on as if nothing had been."""
    return fe.ask_u64(r.GET_FEATURES) != 0


def reason(lab):
    return port(lab.vhost, "vm0")["last_error"] or ""


# ---- headers -----------------------------------------------------------------------------------

@pytest.mark.parametrize("flags, size, why", [
    (0, 0, "version"), (2, 0, "version"), (3, 0, "version"),
    (r.VERSION | r.REPLY, 8, "never sent"),
    (r.VERSION, 513, "payload larger"), (r.VERSION, 0xFFFFFFFF, "payload larger"),
    (r.VERSION, 0x80000000, "payload larger")])
def test_header(lab, front_end, flags, size, why):
    front_end.send(r.GET_FEATURES, flags=flags, size=size)
    assert front_end.hung_up()
    assert why in reason(lab)


@pytest.mark.parametrize("request_", [0, 45, 9999, 0xFFFFFFFF])
def test_unknown_request(lab, front_end, request_):
    front_end.negotiate()
    assert outcome(front_end, request_, b"x" * 100) == REFUSED
    front_end.send(request_, b"x" * 512)
    assert alive(front_end)
    assert f"unknown request {request_}" in reason(lab)


@pytest.mark.parametrize("request_, ends", [
    (6, True), (19, False), (21, False), (24, True), (25, False), (28, True), (31, True),
    (32, False), (23, False), (26, True), (27, False), (33, False), (35, False), (41, True),
    (42, True), (43, True), (44, True)])
def test_known_request_that_is_not_served(lab, front_end, request_, ends):
    """By this back end, or on this connection, which has not negotiated it. One whose answer the
    front end would wait for ends the connection; others are refused."""
    front_end.negotiate()
    fd = os.memfd_create("unwanted")
    try:
        got = outcome(front_end, request_, bytes(40), [fd] * 3)
    finally:
        os.close(fd)
    assert got == (HUNG_UP if ends else REFUSED)
    why = ("not supported", "waits for an answer", "was not negotiated")
    assert any(words in reason(lab) for words in why)


@pytest.mark.parametrize("request_, needs", [(r.GET_QUEUE_NUM, True), (r.GET_STATUS, True),
                                             (r.SET_STATUS, False), (r.ADD_MEM_REG, False)])
def test_request_without_its_feature(lab, front_end, request_, needs):
    front_end.negotiate(protocol=r.P_REPLY_ACK)
    assert outcome(front_end, request_, bytes(8)) == (HUNG_UP if needs else REFUSED)
    assert "was not negotiated" in reason(lab)


@pytest.mark.parametrize("request_, size", [
    (r.GET_FEATURES, 8), (r.SET_FEATURES, 0), (r.SET_FEATURES, 4), (r.SET_FEATURES, 16),
    (r.SET_OWNER, 1), (r.SET_MEM_TABLE, 8), (r.SET_MEM_TABLE, 39), (r.SET_MEM_TABLE, 296),
    (r.SET_VRING_NUM, 4), (r.SET_VRING_ADDR, 39), (r.SET_VRING_ADDR, 48), (r.SET_VRING_BASE, 0),
    (r.GET_VRING_BASE, 0), (r.SET_VRING_KICK, 0), (r.SET_VRING_CALL, 9), (r.SET_VRING_ENABLE, 512),
    (r.GET_PROTOCOL_FEATURES, 1), (r.SET_STATUS, 1)])
def test_payload_of_the_wrong_size(lab, front_end, request_, size):
    front_end.negotiate()
    assert outcome(front_end, request_, bytes(size)) == HUNG_UP
    assert "payload of" in reason(lab)


# ---- descriptors -------------------------------------------------------------------------------

@pytest.mark.parametrize("n", [1, 8, 9, 253])
def test_descriptors_that_nobody_wants(lab, front_end, n):
    """Up to as many as the kernel passes on; each is closed."""
    fd = os.memfd_create("unwanted")
    try:
        assert outcome(front_end, r.GET_FEATURES, b"", [fd] * n) == HUNG_UP
    finally:
        os.close(fd)
    assert "file descriptors" in reason(lab)


def test_descriptors_in_the_middle_of_a_message(lab, front_end):
    front_end.sock.sendall(struct.pack("=III", r.SET_VRING_KICK, r.VERSION, 8))
    socket.send_fds(front_end.sock, [U64(0)], [front_end.eventfd()])
    assert front_end.hung_up()
    assert "in the middle" in reason(lab)


def test_descriptors_with_a_message_that_never_ends(lab, front_end):
    front_end.send(r.SET_MEM_TABLE, b"1234", [front_end.memfd] * 8, size=40)


def test_thousands_of_descriptors(lab, front_end):
    """In well-formed messages that the daemon takes: the old ones are let go."""
    front_end.start()
    before = lab.vhost.fds()
    for _ in range(500):
        for request_ in (r.SET_VRING_CALL, r.SET_VRING_KICK, r.SET_VRING_ERR):
            for ring in (0, 1):
                fd = os.eventfd(0)
                front_end.send(request_, U64(ring), [fd])
                os.close(fd)
    assert alive(front_end)
    assert lab.vhost.fds() <= before + 4  # two error descriptors, and a control connection


@pytest.mark.parametrize("request_", [r.SET_VRING_KICK, r.SET_VRING_CALL, r.SET_VRING_ERR])
@pytest.mark.parametrize("kind", ["memfd", "pipe", "socket", "null", "epoll", "file"])
def test_ring_descriptor_that_is_no_eventfd(lab, front_end, request_, kind):
    """Anything else could block a worker, or end it."""
    front_end.negotiate()
    null = os.open("/dev/null", os.O_RDWR)
    ends = os.pipe()
    with tempfile.TemporaryFile() as file, socket.socket() as sock, select.epoll() as epoll:
        fd = {"memfd": front_end.memfd, "pipe": ends[1], "socket": sock.fileno(), "null": null,
              "file": file.fileno(), "epoll": epoll.fileno()}[kind]
        assert outcome(front_end, request_, U64(0), [fd]) == REFUSED
    for end in (*ends, null):
        os.close(end)
    assert "not an eventfd" in reason(lab)
    assert alive(front_end)


@pytest.mark.parametrize("payload, n", [(U64(0), 0), (U64(0), 2), (U64(1 << 8), 1),
                                        (U64(200), 1), (U64(1 << 9), 1), (U64(1 << 63), 1)])
def test_ring_descriptors_and_payload_disagree(lab, front_end, payload, n):
    front_end.negotiate()
    for_ring = [front_end.eventfd() for _ in range(n)]
    assert outcome(front_end, r.SET_VRING_KICK, payload, for_ring) == HUNG_UP
    assert re.search("file descriptors|no ring", reason(lab))


# ---- features ----------------------------------------------------------------------------------

def test_features_that_were_not_offered(lab, front_end):
    front_end.negotiate()
    assert outcome(front_end, r.SET_FEATURES, U64(1 << 63)) == REFUSED
    assert outcome(front_end, r.SET_PROTOCOL_FEATURES, U64(1 << 40)) == REFUSED
    front_end.send(r.SET_FEATURES, U64((1 << 64) - 1))
    assert front_end.hung_up()
    assert "SET_FEATURES" in reason(lab)


# ---- memory ------------------------------------------------------------------------------------

MIB = 1 << 20
BAD_REGIONS = {
    "size 0": [(GPA, 0, UVA, 0)],
    "wraps": [((1 << 64) - 4096, 8192, UVA, 0)],
    "wraps in the front end": [(GPA, 8192, (1 << 64) - 4096, 0)],
    "overlap in guest-physical": [(GPA, 8192, UVA, 0), (GPA + 4096, 8192, UVA + MIB, 0)],
    "overlap in the front end": [(GPA, 8192, UVA, 0), (GPA + MIB, 8192, UVA + 4096, 0)],
    "the same twice": [(GPA, 8192, UVA, 0), (GPA, 8192, UVA, 0)],
    "beyond the file": [(GPA, 2 * MIB, UVA, 0)],
    "far beyond the file": [(GPA, MIB, UVA, 1 << 40)],
    "offset and size wrap": [(GPA, MIB, UVA, (1 << 64) - 4096)],
    "offset not of a page": [(GPA, 4096, UVA, 100)],
    "larger than all": [(GPA, 1 << 63, UVA, 0)],
}


@pytest.mark.parametrize("name", BAD_REGIONS)
def test_memory_region(lab, front_end, name):
    regions = BAD_REGIONS[name]
    front_end.start()
    fds = [front_end.memfd] * len(regions)
    assert outcome(front_end, r.SET_MEM_TABLE, front_end.table(*regions), fds) == REFUSED
    assert "SET_MEM_TABLE" in reason(lab)
    front_end.transmit(bytes(64))  # on the memory that was there before


@pytest.mark.parametrize("claimed, sent, fds", [(0, 1, 1), (9, 8, 8), (2, 1, 1), (1, 2, 1),
                                                (1, 1, 2), (2, 2, 1), (0xFFFFFFFF, 1, 1)])
def test_memory_table_that_contradicts_itself(lab, front_end, claimed, sent, fds):
    front_end.negotiate()
    table = front_end.table(*[(GPA + i * MIB, MIB, UVA + i * MIB, 0) for i in range(sent)])
    table = struct.pack("=I", claimed) + table[4:]
    assert outcome(front_end, r.SET_MEM_TABLE, table, [front_end.memfd] * fds) == HUNG_UP


@pytest.mark.parametrize("kind", ["socket", "pipe", "eventfd", "null", "zero", "folder",
                                  "read-only", "sealed"])
def test_memory_behind_a_strange_descriptor(lab, front_end, kind):
    front_end.negotiate()
    ends = os.pipe()
    opened = []

    def open_(path, flags):
        opened.append(os.open(path, flags))
        return opened[-1]

    def sealed():
        fd = os.memfd_create("sealed", os.MFD_ALLOW_SEALING)
        os.truncate(fd, MIB)
        fcntl.fcntl(fd, 1033, 8)  # F_ADD_SEALS, F_SEAL_WRITE
        opened.append(fd)
        return fd
    fd = {"socket": front_end.sock.fileno, "pipe": lambda: ends[0], "eventfd": front_end.eventfd,
          "null": lambda: open_("/dev/null", os.O_RDWR),
          "zero": lambda: open_("/dev/zero", os.O_RDWR),
          "folder": lambda: open_("/tmp", os.O_RDONLY),
          "read-only": lambda: open_(f"/proc/self/fd/{front_end.memfd}", os.O_RDONLY),
          "sealed": sealed}[kind]()
    table = front_end.table((GPA, MIB, UVA, 0))
    got = outcome(front_end, r.SET_MEM_TABLE, table, [fd])
    for other in (*ends, *opened):
        os.close(other)
    assert got == REFUSED and "SET_MEM_TABLE" in reason(lab)


def test_memory_slots(lab, front_end):
    """One region at a time: doubles, overlaps and strangers are refused, and all that was added
    goes with the connection."""
    front_end.negotiate(protocol=r.P_MQ | r.P_REPLY_ACK | r.P_STATUS | r.P_MEM_SLOTS)

    def region(i, size=4096):
        return U64(0) + struct.pack("=QQQQ", GPA + i * 4096, size, UVA + i * 4096, 0)
    fd = [front_end.memfd]
    for i in range(100):
        assert outcome(front_end, r.ADD_MEM_REG, region(2 * i), fd) == "granted"
    assert outcome(front_end, r.ADD_MEM_REG, region(2), fd) == REFUSED
    assert outcome(front_end, r.ADD_MEM_REG, region(1, 8192), fd) == REFUSED
    assert outcome(front_end, r.REM_MEM_REG, region(1)) == REFUSED
    assert outcome(front_end, r.REM_MEM_REG, region(2)) == "granted"
    assert outcome(front_end, r.REM_MEM_REG, region(2)) == REFUSED
    for i in range(100, 510):
        assert outcome(front_end, r.ADD_MEM_REG, region(2 * i), fd) == "granted"
    assert outcome(front_end, r.ADD_MEM_REG, region(5000), fd) == REFUSED
    assert port(lab.vhost, "vm0")["regions"] == 509
    assert outcome(front_end, r.ADD_MEM_REG, region(6000), []) == HUNG_UP


# ---- rings -------------------------------------------------------------------------------------

@pytest.mark.parametrize("request_, payload, want", [
    (r.SET_VRING_NUM, STATE(0, 0), REFUSED), (r.SET_VRING_NUM, STATE(0, 100), REFUSED),
    (r.SET_VRING_NUM, STATE(0, 65536), REFUSED), (r.SET_VRING_NUM, STATE(0, 1 << 31), REFUSED),
    (r.SET_VRING_NUM, STATE(16, 256), HUNG_UP),
    (r.SET_VRING_NUM, STATE(0xFFFFFFFF, 256), HUNG_UP),
    (r.SET_VRING_BASE, STATE(0, 65536), REFUSED), (r.SET_VRING_BASE, STATE(256, 0), HUNG_UP),
    (r.GET_VRING_BASE, STATE(16, 0), HUNG_UP), (r.SET_VRING_ENABLE, STATE(16, 1), HUNG_UP),
    (r.SET_VRING_ENABLE, STATE(0, 2), REFUSED)])
def test_ring_state(lab, front_end, request_, payload, want):
    front_end.negotiate()
    assert outcome(front_end, request_, payload) == want
    assert re.search("SET_VRING|GET_VRING", reason(lab))


@pytest.mark.parametrize("where", [
    {"desc": UVA + 8}, {"avail": UVA + 0x4001}, {"used": UVA + 0x8002}, {"desc": 0},
    {"avail": 0}, {"used": 0}, {"desc": UVA + MIB - 16}, {"avail": UVA + MIB - 4},
    {"used": UVA + MIB - 8}, {"desc": (1 << 64) - 16}, {"used": UVA - 4}, {"desc": UVA + MIB}])
def test_ring_address(lab, front_end, where):
    """Unaligned, outside memory, or running out of it: the ring does not start."""
    front_end.negotiate()
    front_end.share_memory()
    front_end.send(r.SET_VRING_NUM, STATE(1, 256))
    first = outcome(front_end, r.SET_VRING_ADDR, front_end.addr(1, **where))
    second = outcome(front_end, r.SET_VRING_KICK, U64(1), [front_end.eventfd()])
    assert REFUSED in (first, second)
    assert "ring 1" in reason(lab)
    assert not any(q["started"] for q in port(lab.vhost, "vm0")["queues"])


@pytest.mark.parametrize("where", [{"desc": 0}, {"used": UVA + MIB - 8}, {"avail": UVA + 1}],
                         ids=["gone", "end", "odd"])
def test_running_ring_is_moved_to_nowhere(lab, front_end, where):
    """It stays where it is."""
    front_end.start()
    assert outcome(front_end, r.SET_VRING_ADDR, front_end.addr(1, **where)) == REFUSED
    front_end.transmit(bytes(64))


@pytest.mark.parametrize("request_, payload", [(r.SET_VRING_NUM, STATE(1, 128)),
                                               (r.SET_VRING_BASE, STATE(1, 77))])
def test_running_ring_is_changed(lab, front_end, request_, payload):
    front_end.start()
    assert outcome(front_end, request_, payload) == REFUSED
    front_end.transmit(bytes(64))


def test_memory_is_taken_from_under_a_running_ring(lab, front_end):
    """A new table without the ring's memory stops the ring; one with it lets it start again."""
    front_end.start()
    other = front_end.table((GPA + 16 * MIB, MIB, UVA + 16 * MIB, 0))
    assert outcome(front_end, r.SET_MEM_TABLE, other, [front_end.memfd]) == "granted"
    wait_for(lambda: not any(q["started"] for q in port(lab.vhost, "vm0")["queues"]), 5,
             "stopped rings")
    front_end.share_memory()
    for ring in (0, 1):
        front_end.clear_ring(ring)
        front_end.start_ring(ring)
    assert alive(front_end)
    front_end.transmit(bytes(64))


def test_everything_out_of_order(lab, front_end):
    """Rings before memory, descriptors before sizes, features last: it starts all the same, or
    not, but never wrongly."""
    kick = front_end.eventfd()
    front_end.send(r.SET_VRING_KICK, U64(1), [kick])
    front_end.send(r.SET_VRING_ENABLE, STATE(1, 1))
    front_end.send(r.SET_VRING_BASE, STATE(1, 0))
    front_end.send(r.SET_VRING_ADDR, front_end.addr(1))
    front_end.send(r.SET_VRING_NUM, STATE(1, 256))
    front_end.send(r.GET_VRING_BASE, STATE(1, 0))
    assert front_end.reply()[0] == r.GET_VRING_BASE
    front_end.negotiate()
    front_end.share_memory()
    front_end.start_ring(1)
    assert alive(front_end)
    front_end.transmit(bytes(64))


@pytest.mark.parametrize("seed", range(6))
def test_random_messages(lab, front_end, seed):
    """Noise with valid headers, over running rings."""
    rng = random.Random(seed)
    front_end.start()
    for _ in range(300):
        request_ = rng.choice([*range(1, 46), rng.getrandbits(32)])
        payload = rng.choice([U64(rng.getrandbits(9)), STATE(rng.getrandbits(2),
                                                             rng.getrandbits(12)),
                              rng.randbytes(rng.choice([0, 8, 40, 100])),
                              front_end.addr(rng.getrandbits(1)),
                              front_end.table((GPA, MIB, UVA, 0))])
        fds = [rng.choice([front_end.memfd, front_end.eventfd()])] * rng.choice([0, 0, 1, 1, 2])
        try:
            front_end.send(request_, payload, fds)
            front_end.ring_bell(1)
        except OSError:
            front_end.sock.close()
            front_end.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            front_end.sock.settimeout(10)
            wait_for(lambda: front_end.sock.connect_ex(str(lab.socket(0))) == 0, 5, "connection")
            front_end.start()
