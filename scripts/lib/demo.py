# SPDX-License-Identifier: BSD-2-Clause
"""The tour behind scripts/demo. Uses the tests' harness for namespaces, daemon and guests."""
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO / "tests/lib"))

from vx import base, net  # noqa: E402
from vx.daemon import BPFFS  # noqa: E402
from vx.topo import HOST, WIRE, Topology  # noqa: E402

BOLD, DIM, RED, END = ("\033[1m", "\033[2m", "\033[31m", "\033[0m") if sys.stdout.isatty() \
    else ("", "", "", "")

PICTURE = """
   namespace "host"                                   namespace "wire"
  ┌────────────────────────────────────────────┐     ┌────────────────────┐
  │ vm0 198.18.0.11 ─┐                         │     │                    │
  │                  ├─ vhost-xdpd ── nic0 ────┼ veth┼── wire0 198.18.0.2 │
  │ vm1 198.18.0.12 ─┘            198.18.0.1   │     │                    │
  └────────────────────────────────────────────┘     └────────────────────┘
"""


class Tour:
    def __init__(self, quick):
        self.quick, self.failures, self.number, self.start = quick, [], 0, time.monotonic()

    def step(self, title, proves):
        self.number += 1
        elapsed = time.monotonic() - self.start
        print(f"\n{BOLD}{self.number}. {title}{END}  {DIM}[{elapsed:.0f} s]{END}\n   {proves}",
              flush=True)

    @contextmanager
    def progress(self, what):
        """A dot each second while something takes its time."""
        done = threading.Event()

        def dots():
            while not done.wait(1):
                print(".", end="", flush=True)

        print(f"   {what} ", end="", flush=True)
        thread = threading.Thread(target=dots, daemon=True)
        begin = time.monotonic()
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            print(f" {time.monotonic() - begin:.1f} s", flush=True)

    def check(self, good, text):
        print(f"   {'ok    ' if good else RED + 'FAILED' + END} {text}", flush=True)
        if not good:
            self.failures.append(text)

    def ping(self, who, name, address, target):
        got = who.ping(address, 3)
        self.check(got == 3, f"ping {name} -> {target}: {got} of 3 answers")

    def tcp(self, client, name, address, target, seconds=3):
        with self.progress(f"TCP {name} -> {target}, {seconds} s"):
            rate = net.tcp_mbit(client.iperf(address, seconds))
        self.check(rate > 0, f"TCP {name} -> {target}: {rate:,.0f} Mbit/s")

    def udp(self, client, name, address, target, mbit=50, seconds=2):
        with self.progress(f"UDP {name} -> {target}, {mbit} Mbit/s offered, {seconds} s"):
            sent, lost = net.udp_result(client.iperf(address, seconds, udp_mbit=mbit))
        self.check(lost < 100, f"UDP {name} -> {target}: {sent:.0f} Mbit/s sent, {lost:.1f} % lost")

    def shell(self, argv, indent="   | "):
        argv = [str(a) for a in argv]
        print(f"   $ {shlex.join(argv)}")
        done = base.run(*argv, check=False)
        print("".join(f"{indent}{line}\n" for line in done.stdout.splitlines()), end="", flush=True)
        self.check(done.returncode == 0, f"{Path(argv[0]).name} ended with status {done.returncode}")


def traffic(tour, topo, vms):
    vm0, vm1 = vms
    tour.step("Guest and wire", "XDP picks the guests' frames out of what arrives at nic0; the daemon "
              "moves them to the guest's virtqueue, and back.")
    tour.ping(vm0, "vm0", WIRE, "wire")
    tour.ping(topo.wire, "wire", vm0.address, "vm0")
    tour.ping(topo.wire, "wire", vm1.address, "vm1")
    tour.step("Guest and guest", "Frames between guests are copied once, from one guest's memory to "
              "the other's, and never reach the NIC.")
    tour.ping(vm0, "vm0", vm1.address, "vm1")
    tour.ping(vm1, "vm1", vm0.address, "vm0")
    tour.step("Host and wire", "nic0 stays the host's own network device: its address still answers, "
              "ARP included, while guests share it.")
    topo.wire.run("ip", "neigh", "flush", "dev", "wire0", check=False)
    tour.ping(topo.wire, "wire", HOST, "host")
    tour.ping(topo.host, "host", WIRE, "wire")
    if tour.quick:
        return
    tour.step("Throughput", "The guests run under software emulation here, so their own CPU time is "
              "the limit, not the daemon.")
    for where in (topo.wire, topo.host):
        where.iperf_server(topo.workdir / f"iperf-{where.name}.log")
    for vm in vms:
        vm.iperf_server()
    tour.tcp(vm0, "vm0", WIRE, "wire")
    tour.tcp(topo.wire, "wire", vm0.address, "vm0")
    tour.tcp(vm0, "vm0", vm1.address, "vm1")
    tour.tcp(topo.wire, "wire", HOST, "host", 2)
    tour.udp(topo.wire, "wire", vm1.address, "vm1")
    tour.udp(vm1, "vm1", WIRE, "wire")
    tour.udp(vm0, "vm0", vm1.address, "vm1")


def inside(tour, daemon):
    tour.step("The steering table", "What XDP does with a frame is in pinned maps that any bpftool "
              "reads, whether the daemon runs or not.")
    tour.shell([base.tool("bpftool"), "map", "dump", "pinned", daemon.pin_dir / "nic0/fdb"])
    tour.step("The daemon's view", "Ports, rings and frames by reason, from the control socket.")
    for verb in (["show"], ["stats"], ["mac", "list"]):
        tour.shell([daemon.ctl_program, "--socket", daemon.control, *verb])


def restart(tour, topo, daemon, vms):
    tour.step("kill -9 and start again", "The guests keep running and their network comes back; the "
              "steering program stayed attached all the time.")
    before = [vm.channel.boot for vm in vms]
    daemon.kill()
    with tour.progress("start vhost-xdpd"):
        daemon.start()
    with tour.progress("wait for the guests' network"):
        for vm in vms:
            topo.wire.wait_ping(vm.address)
    tour.ping(topo.wire, "wire", vms[0].address, "vm0")
    tour.ping(vms[0], "vm0", vms[1].address, "vm1")
    tour.check([vm.channel.boot for vm in vms] == before, "no guest has rebooted")


def idle(tour, daemon):
    tour.step("Idle", "Nobody polls when there is nothing to do.")
    with tour.progress("watch the daemon for 5 s"):
        ticks, nanoseconds = daemon.idle_ticks(5)
    print(f"   CPU time in 5 s: {ticks * 10} ms by the clock tick, {nanoseconds / 1e6:.2f} ms by "
          f"the scheduler; own memory: {daemon.own_memory() / 2**20:.1f} MiB")


def look_around(topo, daemon, vms):
    enter = {"host": topo.host.argv(), "wire": topo.wire.argv()}
    print(f"""
{BOLD}It all keeps running.{END} From another terminal (as root):
   {daemon.ctl_program} --socket {daemon.control} show
   bpftool map dump pinned {daemon.pin_dir}/nic0/fdb
   {shlex.join(enter['wire'])} ping {vms[0].address}
   {shlex.join(enter['host'])} ip -d link show nic0
   {shlex.join(enter['wire'])} tcpdump -n -i wire0
   tail -f {daemon.log}
   tail {vms[0].console}
Pid of the daemon: {daemon.pid}. To end it all: kill {os.getpid()}, or here: quit or Ctrl-C.""")
    if not sys.stdin.isatty():
        sys.stdout.flush()
        signal.pause()
        return
    print("Commands here: vm0 CMD..., vm1 CMD..., host CMD..., wire CMD..., quit")
    while True:
        try:
            line = input("demo> ").strip()
        except EOFError:
            return
        where, _, command = line.partition(" ")
        if where in ("quit", "exit"):
            return
        if where in ("vm0", "vm1") and command:
            status, output = vms[int(where[2])].call(command, 30)
            print(output, end="" if output.endswith("\n") else "\n")
        elif where in enter and command:
            subprocess.run(enter[where] + ["sh", "-c", command], check=False)
        elif line:
            print("vm0|vm1|host|wire COMMAND, or quit")


def tour_all(tour, keep):
    tour.step("A network to play in", "Two namespaces; nothing on this machine's own network is "
              "touched.")
    print(PICTURE)
    with Topology("demo") as topo:
        daemon = topo.daemon(2, pin_dir=BPFFS / f"vhost-xdp-demo-{os.getpid()}")
        tour.step("The daemon", f"One process; its configuration is {daemon.file}:")
        daemon.start()
        print("".join(f"   | {line}\n" for line in daemon.file.read_text().splitlines()), end="")
        tour.check(daemon.process.alive(), f"vhost-xdpd is ready (pid {daemon.pid})")
        tour.step("Two guests", "Unmodified Debian kernels in QEMU; each network card is a socket of "
                  "the daemon.")
        with tour.progress("boot (software emulation)"):
            vms = topo.guests(2)
            for vm in vms:
                topo.wire.wait_ping(vm.address)
        traffic(tour, topo, vms)
        inside(tour, daemon)
        restart(tour, topo, daemon, vms)
        idle(tour, daemon)
        if tour.failures:
            topo.failed = True
            return
        print(f"\n{BOLD}All of it worked{END}, in {time.monotonic() - tour.start:.0f} s.")
        if keep:
            look_around(topo, daemon, vms)


def main():
    tour = Tour("--quick" in sys.argv)
    try:
        tour_all(tour, "--keep" in sys.argv)
    except base.Skip as reason:
        sys.exit(f"demo: {reason}")
    except SystemExit as end:
        print("\ndemo: ended by a signal; everything has been cleaned up")
        raise end
    except KeyboardInterrupt:
        print("\ndemo: interrupted; everything has been cleaned up")
        sys.exit(130)
    if tour.failures:
        print(f"\n{RED}{len(tour.failures)} steps failed:{END}")
        print("".join(f"   {text}\n" for text in tour.failures), end="")
        sys.exit(1)
    print("demo: cleaned up")


if __name__ == "__main__":
    main()
