# SPDX-License-Identifier: BSD-2-Clause
"""A guest that gets more than it takes: a neighbour that sends it little is heard all the same."""
from collections import Counter

from vx.base import wait_for
from vx.topo import guest_mac

from rawfe import BUFFERS, DESC_WRITE, HDR, RawFrontEnd
from vxnet import Vfe, frame, mac_bytes, to_drops

RING = 256
FRAMES = 200  # of the neighbour


class SlowGuest:
    """Posts buffers again when it is told to."""

    def __init__(self, fe):
        self.fe, self.seen = fe, 0
        for i in range(RING):
            fe.desc(0, i, fe.buffer(16 + i), 2048, DESC_WRITE)
        fe.offer(0, *range(RING))

    def take(self):
        """Senders of some frames, the oldest in its ring. Their buffers are posted again."""
        n = min((self.fe.used_idx(0) - self.seen) & 0xffff, RING // 4)
        heads = [(self.seen + i) % RING for i in range(n)]
        senders = [bytes(self.fe.mem[at:at + 6]) for at in (
            BUFFERS + (16 + head) * 2048 + HDR + 6 for head in heads)]
        self.seen += n
        self.fe.offer(0, *heads)
        return senders


def test_neighbour_of_a_flood_is_heard(topo):
    """One guest fills another's ring as fast as it can; of what a third one sends there now and
    then, nothing is lost. Without a share for it, a tenth to a half would be."""
    daemon = topo.daemon(3, nics=[{"name": "nic0", "mode": "internal"}]).start()
    with RawFrontEnd(topo.socket(0)) as fe, RawFrontEnd(topo.socket(2)) as neighbour:
        guest = SlowGuest(fe.start())
        neighbour.start()
        flood = Vfe(topo, topo.socket(1), "tx", mac=guest_mac(1), dst=guest_mac(0),
                    count=1 << 30, timeout_ms=100000)
        wait_for(lambda: to_drops(daemon, "vm0").get("no-buffer", 0) > 10000, 20, "a full ring")
        # Until somebody is known who sends little, there is no room at all.
        neighbour.transmit(frame(guest_mac(0), guest_mac(2), FRAMES))
        guest.take()
        senders = Counter()
        for seq in range(FRAMES):
            neighbour.transmit(frame(guest_mac(0), guest_mac(2), seq))
            senders.update(guest.take())
        drops = to_drops(daemon, "vm0")["no-buffer"]
        flood.process.stop()
        while found := guest.take():
            senders.update(found)
    print(f"heard {dict(senders)}, lost {drops}")
    assert senders[mac_bytes(guest_mac(2))] == FRAMES
    assert senders[mac_bytes(guest_mac(1))] > FRAMES and drops > 10 * FRAMES
