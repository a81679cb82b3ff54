# SPDX-License-Identifier: BSD-2-Clause
"""Frames to a station that sends them back to us, compared byte by byte.

A program of its own, because it runs in another network namespace:
    echo.py DEVICE STATION-MAC COUNT [--flows N] [--max BYTES] [--patience SECONDS]
The frames are UDP of all lengths with random contents; at most WINDOW of them are under way.
Exit status 0: all came back unchanged, each flow in its order.
"""
import argparse
import os
import random
import select
import socket
import struct
import sys
import time

WINDOW = 48  # fewer than the smallest ring holds
OUTGOING = 4  # PACKET_OUTGOING


def checksum(head):
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - ((total & 0xFFFF) + (total >> 16))


def frame(dst, src, serial, flow, length):
    payload = struct.pack("!I", serial) + random.randbytes(length - 46)
    udp = struct.pack("!HHHH", 10000 + flow, 7, 8 + len(payload), 0) + payload
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), serial & 0xFFFF, 0, 64, 17, 0,
                       bytes([198, 19, 0, 1]), bytes([198, 19, 0, 2]))
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return dst + src + b"\x08\x00" + head + udp


def receive(sock, pending):
    """Take what has come back off `pending` (serial -> frame). Returns a complaint, or None."""
    data, origin = sock.recvfrom(65536)
    if origin[2] == OUTGOING or data[12:14] != b"\x08\x00" or data[26:34] != bytes(
            [198, 19, 0, 1, 198, 19, 0, 2]):
        return None
    serial = struct.unpack("!I", data[42:46])[0]
    sent = pending.pop(serial, None)
    if sent is None:
        return f"frame {serial} came twice"
    if sent[14:] != data[14:len(sent)] or any(data[len(sent):]):
        return f"frame {serial} of {len(sent)} bytes came back changed"
    older = [s for s in pending if s < serial and pending[s][34:36] == sent[34:36]]
    return f"frame {serial} overtook {older}" if older else None


def run(args):
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    sock.bind((args.device, 0))
    src = sock.getsockname()[4]
    dst = bytes.fromhex(args.station.replace(":", ""))
    pending, serial, last = {}, 0, time.monotonic()
    while serial < args.count or pending:
        while serial < args.count and len(pending) < WINDOW:
            length = random.choice((60, random.randint(60, args.max), args.max))
            pending[serial] = frame(dst, src, serial, serial % args.flows, length)
            sock.send(pending[serial])
            serial += 1
        if select.select([sock], [], [], 0.2)[0]:
            before = len(pending)
            complaint = receive(sock, pending)
            if complaint:
                return complaint
            if len(pending) < before:
                last = time.monotonic()
        elif time.monotonic() - last > args.patience:
            return f"{len(pending)} of {serial} frames did not come back"
    return None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("device")
    parser.add_argument("station")
    parser.add_argument("count", type=int)
    parser.add_argument("--flows", type=int, default=1)
    parser.add_argument("--max", type=int, default=1514)
    parser.add_argument("--patience", type=float, default=10,
                        help="seconds without any frame until the rest counts as lost")
    random.seed(os.getpid())
    sys.exit(run(parser.parse_args()))


if __name__ == "__main__":
    main()
