/* SPDX-License-Identifier: BSD-2-Clause */
/* fake_fe.c - see fake_fe.h */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include "fake_fe.h"
#include "vhost_signal.h"

#define MAX_SEND_FDS 253 /* SCM_MAX_FD */

uint32_t count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	uint32_t n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

uint32_t count_memfd_mappings(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	char line[1024];
	uint32_t n = 0;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		n += strstr(line, "memfd:") != NULL;
	fclose(f);
	return n;
}

/* ---- the owner ---- */

static void owner_quiesce(void *owner)
{
	struct rig *rig = owner;

	rig->n_quiesce++;
	if (rig->on_quiesce)
		rig->on_quiesce(rig);
}

static void owner_changed(void *owner)
{
	struct rig *rig = owner;

	rig->n_changed++;
	if (rig->on_changed)
		rig->on_changed(rig);
}

static void owner_wake(void *owner)
{
	struct rig *rig = owner;

	rig->n_wake++;
}

static void owner_attend(void *owner)
{
	struct rig *rig = owner;

	atomic_fetch_add_explicit(&rig->n_attend, 1, memory_order_release);
}

static void owner_info(void *owner, const char *text)
{
	struct rig *rig = owner;

	assert_null(strchr(text, '\n'));
	rig->n_info++;
	snprintf(rig->info, sizeof(rig->info), "%s", text);
}

static void owner_warn(void *owner, const char *text)
{
	struct rig *rig = owner;

	assert_null(strchr(text, '\n'));
	rig->n_warn++;
	snprintf(rig->warn, sizeof(rig->warn), "%s", text);
}

static const char *owner_announce(void *owner, const uint8_t mac[6])
{
	struct rig *rig = owner;

	rig->n_announced++;
	memcpy(rig->announced, mac, 6);
	return rig->announce_why;
}

static const struct vhost_dev_ops owner_ops = {
	.announce = owner_announce,
	.quiesce = owner_quiesce,
	.wake = owner_wake,
	.attend = owner_attend,
	.rings_changed = owner_changed,
	.info = owner_info,
	.warn = owner_warn,
};

/* ---- the rig ---- */

int make_memfd(uint64_t size)
{
	int fd = memfd_create("guest", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	return fd;
}

int make_eventfd(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	assert_true(fd >= 0);
	return fd;
}

uint64_t read_eventfd(int fd)
{
	uint64_t v = 0;

	return read(fd, &v, sizeof(v)) == sizeof(v) ? v : 0;
}

void rig_config(struct vhost_dev_config *ret_config, uint16_t pairs)
{
	*ret_config = (struct vhost_dev_config){
		.features = vhost_dev_default_features() & ~VHOST_BIT(VIRTIO_F_ACCESS_PLATFORM),
		.protocol_features = vhost_dev_default_protocol_features(),
		.max_queue_pairs = pairs,
		.max_mtu = RIG_MAX_MTU,
		.mac = {0x52, 0x54, 0, 0, 0, 0x0a},
		.config_mtu = 1500,
	};
}

void rig_attach(struct rig *rig)
{
	int sv[2];

	if (rig->fe >= 0)
		close(rig->fe);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	rig->fe = sv[0];
	assert_int_equal(fcntl(rig->fe, F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(vhost_dev_attach(rig->dev, sv[1]), 0);
}

void rig_renew(struct rig *rig, const struct vhost_dev_config *config)
{
	vhost_dev_free(rig->dev);
	rig->dev = NULL;
	assert_int_equal(vhost_dev_new(config, &owner_ops, rig, &rig->dev), 0);
	rig_attach(rig);
}

int rig_setup(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	struct vhost_dev_config config;

	assert_non_null(rig);
	(void)vhost_signal(-1); /* its descriptor is the process's, for good */
	rig->fds_before = count_fds();
	rig->maps_before = count_memfd_mappings();
	rig->fe = -1;
	rig->guest_fd = make_memfd(RIG_GUEST_SIZE);
	rig->guest =
		mmap(NULL, RIG_GUEST_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, rig->guest_fd, 0);
	assert_true(rig->guest != MAP_FAILED);
	rig_config(&config, 2);
	rig_renew(rig, &config);
	*state = rig;
	return 0;
}

int rig_teardown(void **state)
{
	struct rig *rig = *state;
	uint32_t fds, maps;

	rig->on_quiesce = rig->on_changed = NULL;
	vhost_dev_free(rig->dev);
	if (rig->fe >= 0)
		close(rig->fe);
	munmap(rig->guest, RIG_GUEST_SIZE);
	close(rig->guest_fd);
	fds = count_fds();
	maps = count_memfd_mappings();
	if (fds != rig->fds_before || maps != rig->maps_before) {
		print_error("leak: %u descriptors before, %u after; %u mappings before, %u after\n",
		            rig->fds_before, fds, rig->maps_before, maps);
		free(rig);
		return -1;
	}
	free(rig);
	return 0;
}

int rig_receive(struct rig *rig)
{
	return vhost_dev_receive(rig->dev);
}

/* ---- messages ---- */

void fe_send(struct rig *rig, uint32_t id, uint32_t flags, const void *payload, uint32_t size,
             const int *fds, uint32_t n_fds)
{
	struct vhost_msg_hdr hdr = {.id = id, .flags = flags | VHOST_HDR_VERSION, .size = size};
	uint8_t copy[1024] = {0};
	struct iovec iov[] = {{&hdr, sizeof(hdr)}, {copy, size}};
	struct msghdr mh = {.msg_iov = iov, .msg_iovlen = 2};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * MAX_SEND_FDS)];
	} control = {0};

	assert_true(size <= sizeof(copy) && n_fds <= MAX_SEND_FDS);
	if (payload)
		memcpy(copy, payload, size);
	if (n_fds) {
		mh.msg_control = control.bytes;
		mh.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(&control.align), fds, sizeof(int) * n_fds);
	}
	assert_int_equal(sendmsg(rig->fe, &mh, MSG_NOSIGNAL), sizeof(hdr) + size);
}

void fe_expect_reply(struct rig *rig, uint32_t id, void *payload, uint32_t size)
{
	struct vhost_msg_hdr hdr;

	assert_int_equal(recv(rig->fe, &hdr, sizeof(hdr), 0), sizeof(hdr));
	assert_int_equal(hdr.id, id);
	assert_int_equal(hdr.flags, 5); /* QEMU rejects anything else */
	assert_int_equal(hdr.size, size);
	if (size)
		assert_int_equal(recv(rig->fe, payload, size, 0), size);
}

void fe_expect_nothing(struct rig *rig)
{
	char c;

	assert_int_equal(recv(rig->fe, &c, 1, 0), -1);
	assert_int_equal(errno, EAGAIN);
}

bool fe_closed(struct rig *rig)
{
	char c;

	ssize_t n = recv(rig->fe, &c, 1, 0);

	/* A reset: the device left bytes of ours unread. */
	return n == 0 || (n < 0 && errno == ECONNRESET);
}

void fe_set(struct rig *rig, uint32_t id, const void *payload, uint32_t size, const int *fds,
            uint32_t n_fds)
{
	fe_send(rig, id, 0, payload, size, fds, n_fds);
	assert_int_equal(rig_receive(rig), 0);
	fe_expect_nothing(rig);
}

void fe_set_u64(struct rig *rig, uint32_t id, uint64_t value)
{
	fe_set(rig, id, &value, sizeof(value), NULL, 0);
}

uint64_t fe_get_u64(struct rig *rig, uint32_t id)
{
	uint64_t v;

	fe_send(rig, id, 0, NULL, 0, NULL, 0);
	assert_int_equal(rig_receive(rig), 0);
	fe_expect_reply(rig, id, &v, sizeof(v));
	return v;
}

void fe_ring_state(struct rig *rig, uint32_t id, uint32_t index, uint32_t num)
{
	struct vhost_vring_state s = {.index = index, .num = num};

	fe_set(rig, id, &s, sizeof(s), NULL, 0);
}

uint32_t fe_get_base(struct rig *rig, uint32_t index)
{
	struct vhost_vring_state s = {.index = index};

	fe_send(rig, VHOST_MSG_GET_VRING_BASE, 0, &s, sizeof(s), NULL, 0);
	assert_int_equal(rig_receive(rig), 0);
	fe_expect_reply(rig, VHOST_MSG_GET_VRING_BASE, &s, sizeof(s));
	assert_int_equal(s.index, index);
	return s.num;
}

void fe_ring_fd(struct rig *rig, uint32_t id, uint32_t index, int fd)
{
	uint64_t v = index | (fd < 0 ? VHOST_RING_FD_NONE : 0);

	fe_set(rig, id, &v, sizeof(v), &fd, fd < 0 ? 0 : 1);
}

uint64_t fe_ask(struct rig *rig, uint32_t id, const void *payload, uint32_t size, const int *fds,
                uint32_t n_fds)
{
	uint64_t v;

	fe_send(rig, id, VHOST_HDR_NEED_REPLY, payload, size, fds, n_fds);
	assert_int_equal(rig_receive(rig), 0);
	fe_expect_reply(rig, id, &v, sizeof(v));
	fe_expect_nothing(rig);
	return v;
}

/* ---- the usual set-up ---- */

void rig_ring_addr(uint32_t ring, struct vhost_vring_addr *ret_addr)
{
	uint64_t at = RIG_UVA + ring * RIG_RING_SPAN;

	*ret_addr = (struct vhost_vring_addr){
		.index = ring,
		.desc_user_addr = at + RIG_DESC,
		.avail_user_addr = at + RIG_AVAIL,
		.used_user_addr = at + RIG_USED,
		.log_guest_addr = RIG_GPA + ring * RIG_RING_SPAN + RIG_USED,
	};
}

void fe_ring_addr(struct rig *rig, uint32_t ring)
{
	struct vhost_vring_addr a;

	rig_ring_addr(ring, &a);
	fe_set(rig, VHOST_MSG_SET_VRING_ADDR, &a, sizeof(a), NULL, 0);
}

void rig_region(struct vhost_region_desc *ret_desc)
{
	*ret_desc = (struct vhost_region_desc){
		.gpa = RIG_GPA, .size = RIG_GUEST_SIZE, .uva = RIG_UVA, .mmap_offset = 0};
}

void fe_mem_table(struct rig *rig)
{
	struct vhost_msg_mem_table t = {.n_regions = 1};

	rig_region(&t.regions[0]);
	fe_set(rig, VHOST_MSG_SET_MEM_TABLE, &t, 8 + 32, &rig->guest_fd, 1);
}

uint64_t fe_features(void)
{
	return vhost_dev_default_features() &
	       ~(VHOST_BIT(VIRTIO_F_RING_PACKED) | VHOST_BIT(VIRTIO_F_ACCESS_PLATFORM));
}

uint64_t fe_protocol_features(void)
{
	return vhost_dev_default_protocol_features() & ~VHOST_BIT(VHOST_PROTO_GPA_ADDRESSES);
}

void fe_negotiate(struct rig *rig, uint64_t features)
{
	fe_set(rig, VHOST_MSG_SET_OWNER, NULL, 0, NULL, 0);
	fe_set_u64(rig, VHOST_MSG_SET_PROTOCOL_FEATURES, fe_protocol_features());
	fe_set_u64(rig, VHOST_MSG_SET_FEATURES, features);
}

struct ring_fds fe_start_ring(struct rig *rig, uint32_t ring, uint32_t size, uint32_t base)
{
	struct ring_fds fds = {.kick = make_eventfd(), .call = make_eventfd()};

	fe_ring_state(rig, VHOST_MSG_SET_VRING_NUM, ring, size);
	fe_ring_state(rig, VHOST_MSG_SET_VRING_BASE, ring, base);
	fe_ring_addr(rig, ring);
	fe_ring_fd(rig, VHOST_MSG_SET_VRING_KICK, ring, fds.kick);
	fe_ring_fd(rig, VHOST_MSG_SET_VRING_CALL, ring, fds.call);
	fe_ring_state(rig, VHOST_MSG_SET_VRING_ENABLE, ring, 1);
	return fds;
}

void close_ring_fds(struct ring_fds fds)
{
	close(fds.kick);
	close(fds.call);
}

struct vring_avail *guest_avail(struct rig *rig, uint32_t ring)
{
	return (void *)(rig->guest + ring * RIG_RING_SPAN + RIG_AVAIL);
}

struct vring_used *guest_used(struct rig *rig, uint32_t ring)
{
	return (void *)(rig->guest + ring * RIG_RING_SPAN + RIG_USED);
}

void fe_honest(struct rig *rig)
{
	fe_negotiate(rig, fe_features());
	fe_mem_table(rig);
	close_ring_fds(fe_start_ring(rig, 0, 256, 0));
	assert_int_equal(vhost_dev_get_state(rig->dev), VHOST_DEV_RUNNING);
	assert_int_equal(fe_get_base(rig, 0), 0);
}

void rig_expect_end(struct rig *rig, const char *word)
{
	assert_int_equal(rig_receive(rig), -EPROTO);
	assert_int_equal(rig->n_warn, 1);
	if (word)
		assert_warned(rig, word);
	vhost_dev_detach(rig->dev);
	assert_true(fe_closed(rig));
	rig_attach(rig);
}

void rig_fresh(struct rig *rig)
{
	struct vhost_dev_config config;

	rig_config(&config, 2);
	rig_renew(rig, &config);
	rig->n_warn = 0;
	rig->warn[0] = '\0';
	fe_negotiate(rig, fe_features());
}
