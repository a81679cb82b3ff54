/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vfe_iommu.c - an IOMMU in front of the device (ACCESS_PLATFORM)
 *
 * Guest memory has I/O virtual addresses that begin VFE_IOVA above the guest-physical ones. The
 * back end is told one page at a time, and only what it asks for. Every `iommu_flush_ms` everything
 * is invalidated, the rings' own pages too, as a guest does that collects what it unmaps.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vfe.h"

#define PAGE 4096ull

int vfe_iommu_connect(struct vfe *v)
{
	int sv[2], err;

	if (!v->config.iommu)
		return 0;
	vfe_iommu_disconnect(v);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv) < 0)
		return vfe_fail(v, -errno, "socketpair: %s", strerror(errno));
	v->channel_fd = sv[0];
	v->next_flush_us = vfe_now_us() + v->config.iommu_flush_ms * 1000ull;
	err = vfe_tell(v, "SET_BACKEND_REQ_FD", VFE_SET_BACKEND_REQ_FD, NULL, 0, &sv[1], 1, true);
	close(sv[1]);
	return err;
}

void vfe_iommu_disconnect(struct vfe *v)
{
	if (v->channel_fd >= 0)
		close(v->channel_fd);
	v->channel_fd = -1;
}

static int iotlb(struct vfe *v, const struct vfe_msg_iotlb *m)
{
	return vfe_tell(v, "IOTLB_MSG", VFE_IOTLB_MSG, m, sizeof(*m), NULL, 0, true);
}

/* Our address of the page at @iova, 0: the guest has mapped nothing there */
static uint64_t page_of(const struct vfe *v, uint64_t iova)
{
	uint64_t gpa = iova - VFE_IOVA;

	for (uint32_t i = 0; i < v->n_regions; i++) {
		const struct vfe_msg_region *r = &v->regions[i].wire;

		if (gpa - r->gpa < r->size)
			return r->uva + (gpa - r->gpa);
	}
	return 0;
}

static int answer(struct vfe *v, struct vfe_msg_iotlb miss)
{
	struct vfe_msg_iotlb m = {
		.iova = miss.iova & ~(PAGE - 1),
		.size = PAGE,
		.perm = VFE_IOTLB_READ | VFE_IOTLB_WRITE,
		.type = VFE_IOTLB_UPDATE,
	};

	if (miss.type != VFE_IOTLB_MISS)
		return vfe_fail(v, -EPROTO, "back-end channel: IOTLB message of type %u",
		                miss.type);
	m.uaddr = page_of(v, m.iova);
	if (!m.uaddr)
		return vfe_fail(v, -EPROTO, "the back end asks for 0x%llx, which nobody gave it",
		                (unsigned long long)miss.iova);
	v->translations++;
	return iotlb(v, &m);
}

int vfe_iommu_serve(struct vfe *v)
{
	struct {
		struct vfe_msg_hdr hdr;
		struct vfe_msg_iotlb iotlb;
	} __attribute__((packed)) m;
	int err = 0;

	if (v->channel_fd < 0 || !v->started)
		return 0;
	while (!err && read(v->channel_fd, &m, sizeof(m)) == sizeof(m)) {
		if (m.hdr.request != VFE_BACKEND_IOTLB_MSG || m.hdr.size != sizeof(m.iotlb))
			return vfe_fail(v, -EPROTO, "back-end channel: request %u of %u bytes",
			                m.hdr.request, m.hdr.size);
		err = answer(v, m.iotlb);
	}
	if (err || !v->config.iommu_flush_ms || vfe_now_us() < v->next_flush_us)
		return err;
	v->next_flush_us = vfe_now_us() + v->config.iommu_flush_ms * 1000ull;
	return iotlb(v, &(struct vfe_msg_iotlb){.type = VFE_IOTLB_INVALIDATE});
}
