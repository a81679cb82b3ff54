#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""TCP between a real QEMU guest and the wire: vhost-xdpd against DPDK testpmd, interleaved.

Both back ends sit on CPU 0 and join the same guest (QEMU, Linux) to the same veth through AF_XDP:
testpmd with net_vhost and net_af_xdp in io mode. Each round boots the guest once per back end and
measures both directions; the order alternates. Prints one JSON line per sample and a summary of
medians and ratios. Needs root, QEMU >= 10, DPDK and 600 hugepages of 2 MiB (taken and given back).
"""
import argparse
import json
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))

from vx.base import Skip, wait_for  # noqa: E402
from vx.net import tcp_mbit  # noqa: E402
from vx.peers import Hugepages, Testpmd  # noqa: E402
from vx.topo import WIRE, Topology  # noqa: E402


def start_ours(t):
    t.daemon(n_ports=1).start()


def start_testpmd(t):
    pmd = t.add(Testpmd(t.workdir, [f"net_vhost0,iface={t.socket(0)}", "net_af_xdp0,iface=nic0"],
                        cpu=0, huge=True, ns=t.host))
    wait_for(t.socket(0).exists, 10, "socket of testpmd")
    pmd.start()


BACK_ENDS = {"vhost-xdpd": start_ours, "testpmd": start_testpmd}


def sample(name, seconds):
    with Topology("tcp") as t:
        BACK_ENDS[name](t)
        guest = t.guests(1)[0]
        guest.wait_ping(WIRE)
        t.wire.iperf_server(t.workdir / "iperf.log")
        out = tcp_mbit(guest.iperf(WIRE, seconds))
        into = tcp_mbit(guest.iperf(WIRE, seconds, reverse=True))
        return {"back_end": name, "out_mbit": round(out, 1), "in_mbit": round(into, 1)}


def summary(samples):
    result = {}
    for key in ("out_mbit", "in_mbit"):
        med = {b: statistics.median(s[key] for s in samples if s["back_end"] == b)
               for b in BACK_ENDS}
        result[key] = {**{b: round(m, 1) for b, m in med.items()}, "ratio": round(med["vhost-xdpd"] / med["testpmd"], 2)}
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="of each measurement")
    args = parser.parse_args()
    samples = []
    try:
        with Hugepages(600):
            for i in range(args.rounds):
                for name in sorted(BACK_ENDS, reverse=i % 2):
                    samples.append(sample(name, args.seconds))
                    print(json.dumps(samples[-1]), flush=True)
    except Skip as why:
        print(f"skipped: {why}", file=sys.stderr)
        return 77
    print(json.dumps({"summary": summary(samples)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
