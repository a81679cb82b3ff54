# SPDX-License-Identifier: BSD-2-Clause
"""What a machine needs to boot from the network: DHCP for one client, TFTP and HTTP of one folder,
and a router that says it is none, so that nobody waits for IPv6.

A program of its own, because it runs in another network namespace:
    boot_server.py DEVICE SERVER-ADDRESS CLIENT-ADDRESS FOLDER BOOTFILE [IPXE-BOOTFILE]
It prints one line for each thing done, "tftp NAME BYTES" when the last block is acknowledged and
"http NAME BYTES" when all was handed to TCP. Clients that say they are iPXE get the second
boot file.
"""
import functools
import http.server
import socket
import socketserver
import struct
import sys
import threading
from pathlib import Path

COOKIE = b"\x63\x82\x53\x63"
DISCOVER, OFFER, REQUEST, ACK = 1, 2, 3, 5


def say(*words):
    print(*words, flush=True)


# ---- DHCP (RFC 2131) ----------------------------------------------------------------------

def _options(data):
    """Code -> value."""
    found, i = {}, 0
    while i + 1 < len(data) and data[i] != 255:
        if data[i] == 0:
            i += 1
            continue
        found[data[i]] = data[i + 2:i + 2 + data[i + 1]]
        i += 2 + data[i + 1]
    return found


def _answer(query, kind, server, client, bootfile):
    head = bytearray(query[:236])
    head[0] = 2  # a reply
    head[16:20] = socket.inet_aton(client)
    head[20:24] = socket.inet_aton(server)  # where the boot file is
    head[108:236] = bootfile.encode().ljust(128, b"\0")
    options = ((53, bytes([kind])), (54, socket.inet_aton(server)), (51, struct.pack("!I", 3600)),
               (1, socket.inet_aton("255.255.255.0")), (66, server.encode()),
               (67, bootfile.encode()))
    tail = b"".join(bytes([code, len(value)]) + value for code, value in options)
    return bytes(head) + COOKIE + tail + b"\xff"


def dhcp(device, server, client, bootfile, ipxe_bootfile):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    sock.bind(("", 67))
    while True:
        query = sock.recv(2048)
        options = _options(query[240:])
        kind = {DISCOVER: OFFER, REQUEST: ACK}.get(options.get(53, b"\0")[0])
        if not kind or query[236:240] != COOKIE:
            continue
        name = ipxe_bootfile if options.get(77, b"").startswith(b"iPXE") else bootfile
        sock.sendto(_answer(query, kind, server, client, name), ("255.255.255.255", 68))
        if kind == ACK:
            say("dhcp", name)


# ---- router advertisements (RFC 4861) -----------------------------------------------------

def router(device):
    """iPXE waits ten seconds for one, even when IPv4 is set up."""
    index = socket.if_nametoindex(device)
    sock = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP,
                    socket.inet_pton(socket.AF_INET6, "ff02::2") + struct.pack("@I", index))
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
    while True:
        if sock.recv(2048)[0] == 133:
            message = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 0, 0, 0)
            sock.sendto(message, ("ff02::1", 0, 0, index))


# ---- TFTP (RFC 1350, options of RFC 2347 to 2349) -----------------------------------------

def _exchange(sock, message, block):
    """Send until `block` is acknowledged. False when the client gives up."""
    for _ in range(10):
        sock.send(message)
        try:
            while True:
                answer = sock.recv(2048)
                opcode, number = struct.unpack("!HH", answer[:4])
                if opcode == 5:
                    return False
                if opcode == 4 and number == block & 0xFFFF:
                    return True
        except TimeoutError:
            continue
    return False


def _transfer(folder, request, peer):
    words = request[2:].split(b"\0")
    name, options = words[0].decode(), [w.lower() for w in words[2:-1]]
    asked = dict(zip(options[::2], options[1::2]))
    path = Path(folder) / Path(name).name
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(peer)
        sock.settimeout(1)
        if not path.is_file():
            sock.send(struct.pack("!HH", 5, 1) + b"no such file\0")
            return
        data = path.read_bytes()
        size = min(int(asked.get(b"blksize", 512)), 1428)
        granted = b"".join(key + b"\0" + value + b"\0" for key, value in (
            (b"blksize", str(size).encode()), (b"tsize", str(len(data)).encode())) if key in asked)
        if granted and not _exchange(sock, b"\0\6" + granted, 0):
            return
        for block in range(1, len(data) // size + 2):
            piece = data[(block - 1) * size:block * size]
            if not _exchange(sock, struct.pack("!HH", 3, block & 0xFFFF) + piece, block):
                return
    say("tftp", path.name, len(data))


def tftp(server, folder):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((server, 69))
    while True:
        request, peer = sock.recvfrom(2048)
        if request[:2] == b"\0\1":
            threading.Thread(target=_transfer, args=(folder, request, peer), daemon=True).start()


# ---- HTTP ---------------------------------------------------------------------------------

class _Files(http.server.SimpleHTTPRequestHandler):
    def copyfile(self, source, outputfile):
        super().copyfile(source, outputfile)
        say("http", Path(self.path).name, source.tell())

    def log_message(self, *args):
        pass


class _HttpServer(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True


def main():
    device, server, client, folder, bootfile, *more = sys.argv[1:]
    for target, args in ((dhcp, (device, server, client, bootfile, (more or [bootfile])[0])),
                         (router, (device,)), (tftp, (server, folder))):
        threading.Thread(target=target, args=args, daemon=True).start()
    handler = functools.partial(_Files, directory=folder)
    httpd = _HttpServer((server, 80), handler)
    say("ready")
    httpd.serve_forever()


if __name__ == "__main__":
    main()
