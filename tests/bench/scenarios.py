# SPDX-License-Identifier: BSD-2-Clause
"""What scripts/bench measures: the list of scenarios, by group and stage.

A stage is a set of back ends that are started together (stages.py); its scenarios are sampled in
turn. A group is what --only names.
"""
from dataclasses import dataclass
from typing import NamedTuple

OURS, TESTPMD, OVS = "vhost-xdpd", "testpmd", "ovs-dpdk"
PEERS = (TESTPMD, OVS)
NOBODY = "02:00:00:00:00:fe"  # a destination that no guest has
VETH_MAX = 1514  # bytes without FCS that a veth of the default MTU takes

GROUPS = {
    "g2g": "guest to guest",
    "cases": "guest to guest: mergeable, indirect, event index",
    "lat": "guest to guest and back",
    "idle": "first frame after idle time",
    "cpu": "CPU time at fixed rates",
    "fan": "from one guest to many",
    "ports": "many guests connected",
    "wire": "AF_XDP on veth",
}


class Metric(NamedTuple):
    """field: of vbench's result; suffix: of the scenario's name; title: in front of or behind it"""
    field: str
    unit: str = "Mpps"
    suffix: str = ""
    title: str = ""
    lower: bool = False  # is better
    scale: float = 1     # from the field's unit


DELIVERED = (Metric("delivered_mpps"),)
ROUND_TRIP = (Metric("p50_ns", "ns", "", "p50", True), Metric("p99_ns", "ns", "-p99", "p99", True),
              Metric("p999_ns", "ns", "-p999", "p99.9", True))
FIRST = (Metric("p50_ns", "µs", "", "p50", True, 1e-3),
         Metric("p99_ns", "µs", "-p99", "p99", True, 1e-3))
CPU = (Metric("cpu_percent", "% CPU", "", "", True),)


@dataclass(frozen=True)
class Scenario:
    group: str
    name: str
    title: str
    mode: str            # of vbench
    options: tuple = ()  # likewise
    metrics: tuple = DELIVERED
    backends: tuple = (OURS, TESTPMD)
    guests: int = 2
    against: str = ""       # the peers' samples are those of this scenario (the same stage)
    plain: str = ""         # our own scenario that this one is a variant of
    length: float = 1       # times the length of a sample
    shared: str = ""        # "front" or "back": whose CPU is shared with the kernel, by design
    from_wire: int = 0      # bytes of the frames that come in from the wire, 0: none do
    must: float = 0         # ratio to testpmd that the project promises, 0: none
    aim: float = 0

    def records(self):
        """(name, title, metric) of what one sample says."""
        for m in self.metrics:
            yield self.name + m.suffix, f"{self.title} {m.title}".strip(), m


def ring_for(size):
    """Options that keep the buffers of two rings at some 4 MiB, whatever the size of a frame."""
    return ("--stride", 9216, "--ring", 256) if size > 2000 else ()


# ---- two guests -----------------------------------------------------------------------------

# (must, aim) by payload, bytes: fast state, against testpmd
TARGETS = {
    ("", 64): (3.2, 4.5), ("", 256): (2.8, 3.8), ("", 1518): (2.1, 2.6),
    ("-touched", 64): (2.2, 2.8), ("-touched", 256): (2.4, 3.2), ("-touched", 1518): (2.0, 2.4),
    ("-both", 64): (2.5, 4.0), ("-both", 1518): (2.0, 2.5),
}


def _pair(layout, kind, size, *options, group="g2g", mode="pair", title="", **keys):
    promised = TARGETS if group == "g2g" and layout == "split" else {}
    must, aim = promised.get((kind, size), (0, 0))
    words = [f"{size} B", title, layout if layout == "packed" else ""]
    options = ("--size", size, *ring_for(size), *options)
    if layout == "packed":
        options = (*options, "--packed")
    name = f"{group}-{size}{kind}" + ("-packed" if layout == "packed" else "")
    return Scenario(group, name, ", ".join(w for w in words if w), mode, options,
                    **{"must": must, "aim": aim, **keys})


def _with_ovs(layout, size):
    return {"backends": (OURS, TESTPMD, OVS)} if layout == "split" and size <= 1518 else {}


def guest_to_guest(o, layout):
    """Payload left alone, then touched; then both ways."""
    yield from (_pair(layout, "", n, **_with_ovs(layout, n)) for n in o.sizes)
    yield from (_pair(layout, "-touched", n, "--touch", title="touched") for n in o.sizes)
    usual = [n for n in o.sizes if n <= 1518] or o.sizes[:1]
    ends = sorted({min(usual), max(usual)})
    if layout == "packed":
        ends = ends[:1]
    for n in ends:
        yield _pair(layout, "-both", n, "--both", "--touch", title="both ways, touched")
    if layout == "split":
        yield _pair(layout, "-both-untouched", ends[0], "--both", title="both ways")


def cases(o, layout):
    """What a driver may negotiate, each beside the same run without it."""
    sizes = [n for n in (o.sizes if layout == "split" else o.sizes[:1]) if n in (64, 1518)]
    kinds = (("mergeable", "--mergeable"), ("indirect", "--indirect"), ("event-idx", "--event-idx"))
    for n in sizes:
        yield _pair(layout, "-plain", n, group="cases", title="plain")
        plain = f"cases-{n}-plain" + ("-packed" if layout == "packed" else "")
        for kind, option in kinds:
            yield _pair(layout, f"-{kind}", n, option, group="cases", title=kind, plain=plain)
    if layout == "split" and max(o.sizes) > 1518:
        big = max(o.sizes)
        yield _pair(layout, "-plain", big, group="cases", title="one large buffer")
        yield _pair(layout, "-merged", big, "--mergeable", "--rx-stride", 2048,
                    group="cases", title="in buffers of 2 KiB", plain=f"cases-{big}-plain")


def round_trip(_o, layout):
    promised = {"must": 1 / 0.8, "aim": 1 / 0.65} if layout == "split" else {}
    yield _pair(layout, "", 64, group="lat", mode="lat", title="round trip", metrics=ROUND_TRIP,
                **promised, **_with_ovs(layout, 64))


def after_idle(_o, layout):
    if layout == "split":
        yield _pair(layout, "", 64, group="idle", mode="idle", title="after 5 to 15 ms of silence",
                    metrics=FIRST, length=10)
        yield Scenario("idle", "idle-wake", "no frame: a thread is woken there", "wake",
                       metrics=FIRST, length=10, backends=(OURS,))


def after_light_idle(o):
    """As after_idle(), by a daemon that keeps its CPU from halting (`wakeup-latency-us: 0`)."""
    if "idle" not in o.only or "split" not in o.layouts:
        return []
    return [_pair("split", "-light", 64, group="idle", mode="idle", metrics=FIRST, length=10,
                  title="after 5 to 15 ms of silence, CPU kept from halting", backends=(OURS,),
                  against="idle-64")]


RATES = (1_000, 10_000, 100_000, 1_000_000)


def rate_name(pps):
    return f"{pps // 1_000_000}M" if pps >= 1_000_000 else f"{pps // 1_000}k"


def cpu_at_rates(_o, layout):
    if layout != "split":
        return
    for pps in RATES:
        yield Scenario("cpu", f"cpu-{rate_name(pps)}", f"{rate_name(pps)} frames/s of 64 B", "rate",
                       ("--pps", pps), CPU, length=2)


def two_guests(o):
    makers = {"g2g": guest_to_guest, "cases": cases, "lat": round_trip, "idle": after_idle,
              "cpu": cpu_at_rates}
    return [s for layout in o.layouts for group, make in makers.items() if group in o.only
            for s in make(o, layout)]


# ---- many guests ----------------------------------------------------------------------------

FAN = 16
CROWDS = (2, 16, 64, 128)
TESTPMD_CROWDS = (2, 16)  # RTE_MAX_ETHPORTS is 32 in Debian's DPDK
SMALL_RINGS = ("--ring", 256)
# Buffers of many guests that lie a power of two apart share few of a cache's sets, which no allocator
# of a real driver lets happen: a DPDK guest's are some 2300 bytes apart. So are these, but where the
# name says otherwise.
SPREAD = ("--stride", 2304, "--rx-stride", 2304)


def fan(o):
    """testpmd is no switch: what it is compared by is the way to one guest."""
    for n in [n for n in o.sizes if n in (64, 1518)] or o.sizes[:1]:
        for kind, title, options in (("", "", ()), ("-touched", ", touched", ("--touch",))):
            options = ("--size", n, *SMALL_RINGS, *SPREAD, *options)
            one = f"fan-{n}{kind}-1"
            yield Scenario("fan", one, f"{n} B{title}, 1 destination", "fan", options)
            yield Scenario("fan", f"fan-{n}{kind}-{FAN}", f"{n} B{title}, {FAN} destinations", "fan",
                           options, backends=(OURS, OVS), guests=1 + FAN, against=one, plain=one)


def ports(_o):
    for n in CROWDS:
        backends = (OURS, TESTPMD) if n in TESTPMD_CROWDS else (OURS,)
        options = ("--size", 64, *SMALL_RINGS, *SPREAD)
        if n > 2:
            yield Scenario("ports", f"ports-{n}-idle", f"{n} connected, 2 active", "ports",
                           (*options, "--active", 2), backends=backends, guests=n, plain="ports-2")
        yield Scenario("ports", f"ports-{n}", f"{n} connected, all active", "ports", options,
                       backends=backends, guests=n, plain="ports-2" if n > 2 else "")
    yield Scenario("ports", f"ports-{n}-aliased", f"{n} connected, all active, buffers 2048 apart",
                   "ports", ("--size", 64, *SMALL_RINGS), backends=(OURS,), guests=n,
                   plain="ports-2")


def many_guests(o):
    return [s for group, make in (("fan", fan), ("ports", ports)) if group in o.only
            for s in make(o)]


# ---- AF_XDP ---------------------------------------------------------------------------------

def _wire_sizes(o):
    """Frames above the veth's MTU would be dropped: 1518 with FCS are 1514 without."""
    return sorted({min(n, VETH_MAX) for n in o.sizes})


def _to_wire(name, size, title, must, aim, shared=""):
    return Scenario("wire", f"{name}-{size}", f"{size} B to AF_XDP{title}", "tx",
                    ("--size", size, "--dst", NOBODY), guests=1, shared=shared, must=must, aim=aim)


def _from_wire(name, size, title, must=0, aim=0):
    """The guest shares its CPU with the generator, so it sleeps, and needs a long ring."""
    return Scenario("wire", f"{name}-{size}", f"{size} B from AF_XDP{title}", "rx",
                    ("--size", size, "--ring", 4096, "--nap-us", 100), guests=1, shared="front",
                    from_wire=size, must=must, aim=aim)


def wire(o):
    if "wire" not in o.only:
        return []
    aims = {64: 1.05, 256: 1.05, VETH_MAX: 1.08}
    todo = [_to_wire("wire", n, "", 1.0, aims.get(n, 1.05)) for n in _wire_sizes(o)]
    todo += [_from_wire("wire-rx", n, "", 1.0, 1.1)
             for n in sorted({_wire_sizes(o)[0], _wire_sizes(o)[-1]})]
    return todo


def steered_wire(o):
    """Ours picks the guest by its address, which testpmd cannot: no promise, but to be seen."""
    return [_from_wire("wire-rx-steered", _wire_sizes(o)[0], ", steered by MAC")] \
        if "wire" in o.only else []


def threaded_wire(o):
    """Ours with a threaded receiver at the other end, against testpmd without."""
    if "wire" not in o.only:
        return []
    targets = {64: (1.2, 1.35), VETH_MAX: (1.15, 1.27)}
    return [_to_wire("wire-threaded", n, ", threaded NAPI", *targets.get(n, (0, 0)), "back")
            for n in sorted({_wire_sizes(o)[0], _wire_sizes(o)[-1]})]


# ---- in the order in which they are measured ------------------------------------------------

def everything(o):
    return [*two_guests(o), *after_light_idle(o), *many_guests(o), *wire(o), *steered_wire(o),
            *threaded_wire(o)]
