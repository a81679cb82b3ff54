/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_control.c - requests on the control socket: whatever the line, the answer is none, or one
 * line of JSON with either a result or an error
 *
 * The methods are the daemon's own; the daemon behind them has no nics and no ports. The first byte
 * of the input says whether the client may change things.
 */
#include <stdlib.h>
#include "clock.h"
#include "ctl_methods.h"
#include "ctl_priv.h"
#include "daemon.h"
#include "fuzz.h"

static struct conf conf = {
	.path = "/etc/vhost-xdp/vhost-xdpd.yaml",
	.control_socket = "/run/vhost-xdp/control.sock",
	.pin_dir = "/sys/fs/bpf/vhost-xdp",
};
static struct daemon daemon_ = {.conf = &conf};

static void check_answer(const char *line, size_t len)
{
	json_t *answer = json_loadb(line, len, 0, NULL);
	const json_t *error = json_object_get(answer, "error");

	fuzz_promise(len > 1 && line[len - 1] == '\n' && !memchr(line, '\n', len - 1));
	fuzz_promise(json_is_object(answer));
	fuzz_promise(!error == !!json_object_get(answer, "result"));
	fuzz_promise(!strcmp(json_string_value(json_object_get(answer, "jsonrpc")), "2.0"));
	if (error)
		fuzz_promise(json_is_integer(json_object_get(error, "code")) &&
		             json_is_string(json_object_get(error, "message")));
	json_decref(answer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct ctl_table table = {ctl_methods, ctl_n_methods, &daemon_};
	struct ctl_answer answer;
	static char line[1 << 20];
	size_t len = 0;
	int more;

	if (!size)
		return 0;
	ctl_rpc_answer(&table, (const char *)data + 1, size - 1, data[0] & 1, &answer);
	while (answer.text) {
		fuzz_promise(answer.len && answer.len <= sizeof(line) - len);
		memcpy(line + len, answer.text, answer.len);
		len += answer.len;
		more = ctl_rpc_more(&answer);
		fuzz_promise(more == !!answer.text);
	}
	if (len)
		check_answer(line, len);
	return 0;
}
