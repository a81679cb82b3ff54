# SPDX-License-Identifier: BSD-2-Clause
"""Harness of the tests that run the daemon against real networks, guests and peers.

    base      skips, clean-up, processes, waiting
    net       network namespaces, veth pairs, ping, iperf3
    daemon    vhost-xdpd under test and vhost-xdpctl
    guest     QEMU guests and the command channel into them
    peers     DPDK testpmd and a private Open vSwitch
    topo      the networks that several tests share
"""
