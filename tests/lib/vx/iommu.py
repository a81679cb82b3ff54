# SPDX-License-Identifier: BSD-2-Clause
"""Guests with an IOMMU in front of the virtio device, which their kernel programs."""

MODES = {
    # The guest maps and unmaps each buffer, and waits for every invalidation.
    "strict": "caching-mode=on",
    # It keeps translations for a while, and then flushes all of them at once, the rings' too.
    "lazy": "caching-mode=off",
}


def behind_iommu(mode, device):
    """Keys for vx.guest.Guest. device: further properties of the virtio-net device"""
    return {"machine": "q35", "append": "intel_iommu=on",
            "first": ["-device", f"intel-iommu,intremap=off,device-iotlb=on,{MODES[mode]}"],
            "device": f"iommu_platform=on,ats=on,disable-legacy=on,{device}"}
