/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * no_lone_frames.c - linked with --wrap=fwd_lone_frame: no frame is taken as one that comes alone
 */
#include "forward_priv.h"

bool __wrap_fwd_lone_frame(struct fwd *f, struct fwd_guest_source *src,
                           const struct vhost_vq_map *map);

bool __wrap_fwd_lone_frame(struct fwd *f, struct fwd_guest_source *src,
                           const struct vhost_vq_map *map)
{
	(void)f;
	(void)src;
	(void)map;
	return false;
}
