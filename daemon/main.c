/* SPDX-License-Identifier: BSD-2-Clause */
/* main.c - command line, start and end of vhost-xdpd */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "conf.h"
#include "conf_single.h"
#include "ctl.h"
#include "ctl_methods.h"
#include "daemon.h"
#include "log.h"
#include "loop.h"
#include "notify.h"
#include "privs.h"
#include "vhost_postcopy.h"

#define MAIN_DEFAULT_CONFIG "/etc/vhost-xdp/vhost-xdpd.yaml"
#define MAIN_MAX_FILES      1048576

struct main_options {
	const char *config; /* NULL: the default, or a single port */
	struct conf_single single;
	bool check_only;
	bool unload;
	bool verbose;
};

static void main_usage(FILE *out)
{
	fprintf(out,
	        "Usage: vhost-xdpd [--config FILE] [--foreground] [--verbose]\n"
	        "       vhost-xdpd --socket-path PATH | --fd N [--nic DEVICE [--mac MAC ...] "
	        "[--vlan ID]]\n"
	        "                  [--queues N] [--mtu N] [--cpu N] [--pin-dir DIR] "
	        "[--control-socket PATH]\n"
	        "       vhost-xdpd --check-config [--config FILE]\n"
	        "       vhost-xdpd --unload [--config FILE]\n"
	        "       vhost-xdpd --print-capabilities | --version | --help\n"
	        "\n"
	        "vhost-user back end for guests' network devices over AF_XDP; see vhost-xdpd(8).\n"
	        "\n"
	        "  -c, --config FILE      configuration (default " MAIN_DEFAULT_CONFIG ")\n"
	        "      --check-config     check the configuration and this host, then exit 0 or 1\n"
	        "      --unload           detach the steering programs that a daemon left, then "
	        "exit\n"
	        "      --socket-path PATH serve one port, here, without a configuration file\n"
	        "      --fd N             likewise, on a socket that was inherited\n"
	        "      --nic DEVICE       its network device; without --mac it is for this port "
	        "alone\n"
	        "      --mac MAC          address of the guest that is steered to the port\n"
	        "      --foreground       accepted for convenience; the daemon never forks\n"
	        "  -v, --verbose          log more\n");
}

enum {
	OPT_CHECK = 256,
	OPT_UNLOAD,
	OPT_FOREGROUND,
	OPT_CAPABILITIES,
	OPT_VERSION,
	OPT_SINGLE, /* and those that follow: options of a single port */
	OPT_SOCKET_PATH = OPT_SINGLE,
	OPT_FD,
	OPT_NIC,
	OPT_MAC,
	OPT_VLAN,
	OPT_QUEUES,
	OPT_MTU,
	OPT_CPU,
	OPT_PIN_DIR,
	OPT_CONTROL_SOCKET,
};

static int main_misused(const char *what)
{
	fprintf(stderr, "vhost-xdpd: %s\n", what);
	main_usage(stderr);
	return 1;
}

static int main_take_single(struct conf_single *s, int option, const char *arg)
{
	const char **places[] = {
		[OPT_SOCKET_PATH - OPT_SINGLE] = &s->socket_path,
		[OPT_FD - OPT_SINGLE] = &s->fd,
		[OPT_NIC - OPT_SINGLE] = &s->nic,
		[OPT_VLAN - OPT_SINGLE] = &s->vlan,
		[OPT_QUEUES - OPT_SINGLE] = &s->queues,
		[OPT_MTU - OPT_SINGLE] = &s->mtu,
		[OPT_CPU - OPT_SINGLE] = &s->cpu,
		[OPT_PIN_DIR - OPT_SINGLE] = &s->pin_dir,
		[OPT_CONTROL_SOCKET - OPT_SINGLE] = &s->control_socket,
	};

	if (option != OPT_MAC) {
		*places[option - OPT_SINGLE] = arg;
		return -1;
	}
	if (s->n_macs == CONF_SINGLE_MACS)
		return main_misused("--mac: more addresses need a configuration file");
	s->macs[s->n_macs++] = arg;
	return -1;
}

static bool main_is_single(const struct main_options *o)
{
	return o->single.socket_path || o->single.fd;
}

/* Options that do not go together. Return: -1 to go on, or the exit status. */
static int main_check_options(const struct main_options *o, bool any_single)
{
	if (o->single.socket_path && o->single.fd)
		return main_misused("--socket-path and --fd exclude each other");
	if (any_single && !main_is_single(o))
		return main_misused("options of a single port need --socket-path or --fd");
	if (main_is_single(o) && (o->config || o->check_only || o->unload))
		return main_misused("--socket-path and --fd need no --config, --check-config or "
		                    "--unload");
	if (!o->single.nic && (o->single.n_macs || o->single.vlan))
		return main_misused("--mac and --vlan need --nic");
	return -1;
}

/* Return: -1 to go on, or the exit status. */
static int main_parse(int argc, char **argv, struct main_options *o)
{
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'},
		{"check-config", no_argument, NULL, OPT_CHECK},
		{"unload", no_argument, NULL, OPT_UNLOAD},
		{"foreground", no_argument, NULL, OPT_FOREGROUND},
		{"print-capabilities", no_argument, NULL, OPT_CAPABILITIES},
		{"socket-path", required_argument, NULL, OPT_SOCKET_PATH},
		{"fd", required_argument, NULL, OPT_FD},
		{"nic", required_argument, NULL, OPT_NIC},
		{"mac", required_argument, NULL, OPT_MAC},
		{"vlan", required_argument, NULL, OPT_VLAN},
		{"queues", required_argument, NULL, OPT_QUEUES},
		{"mtu", required_argument, NULL, OPT_MTU},
		{"cpu", required_argument, NULL, OPT_CPU},
		{"pin-dir", required_argument, NULL, OPT_PIN_DIR},
		{"control-socket", required_argument, NULL, OPT_CONTROL_SOCKET},
		{"verbose", no_argument, NULL, 'v'},
		{"version", no_argument, NULL, OPT_VERSION},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	bool any_single = false;
	int c, status;

	*o = (struct main_options){0};
	while ((c = getopt_long(argc, argv, "c:vh", options, NULL)) != -1) {
		switch (c) {
		case 'c':
			o->config = optarg;
			break;
		case 'v':
			o->verbose = true;
			break;
		case OPT_CHECK:
			o->check_only = true;
			break;
		case OPT_UNLOAD:
			o->unload = true;
			break;
		case OPT_FOREGROUND:
			break;
		case OPT_CAPABILITIES:
			puts("{\"type\": \"net\"}");
			return 0;
		case OPT_VERSION:
			puts("vhost-xdpd " VX_VERSION);
			return 0;
		case 'h':
			main_usage(stdout);
			return 0;
		default:
			if (c < OPT_SINGLE) {
				main_usage(stderr);
				return 1;
			}
			any_single = true;
			status = main_take_single(&o->single, c, optarg);
			if (status >= 0)
				return status;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "vhost-xdpd: unexpected argument '%s'\n", argv[optind]);
		main_usage(stderr);
		return 1;
	}
	status = main_check_options(o, any_single);
	if (!o->config)
		o->config = MAIN_DEFAULT_CONFIG;
	return status;
}

/* Guests bring five descriptors a queue pair. */
static void main_raise_file_limit(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
		return;
	lim.rlim_cur = lim.rlim_max < MAIN_MAX_FILES ? lim.rlim_max : MAIN_MAX_FILES;
	setrlimit(RLIMIT_NOFILE, &lim);
}

static int main_unload(const struct conf *conf)
{
	int status = 0;

	for (uint32_t i = 0; i < conf->n_nics; i++) {
		const char *name = conf->nics[i].name;
		char *why = NULL;
		int err;

		if (conf->nics[i].mode == CONF_NIC_INTERNAL)
			continue;
		err = nic_unload(conf->pin_dir, name, &why);
		if (err == -ENOENT) {
			printf("nic %s: nothing is loaded\n", name);
		} else if (err < 0) {
			fprintf(stderr, "nic %s: cannot unload: %s\n", name,
			        why ? why : strerror(-err));
			status = 1;
		} else {
			printf("nic %s: steering program detached, maps removed\n", name);
		}
		free(why);
	}
	return status;
}

static void main_on_stop_signal(void *arg, int signo)
{
	log_info("stopping: got %s", strsignal(signo));
	loop_quit(arg, 0);
}

/* Its default action would end the daemon, which is not what anybody sends it for. */
static void main_on_hangup(void *arg, int signo)
{
	(void)arg;
	(void)signo;
	log_warn("SIGHUP is ignored: changes of the configuration take effect at a restart");
}

static int main_add_signals(struct loop *loop, struct loop_source **ret_sources)
{
	int err = loop_add_signal(loop, SIGTERM, main_on_stop_signal, loop, &ret_sources[0]);

	if (!err)
		err = loop_add_signal(loop, SIGINT, main_on_stop_signal, loop, &ret_sources[1]);
	if (!err)
		err = loop_add_signal(loop, SIGHUP, main_on_hangup, loop, &ret_sources[2]);
	return err;
}

/* A nic that cannot be served now is retried, not fatal: say so where operators look first. */
static void main_tell_ready(struct notify *notify, const struct daemon *daemon)
{
	notify_ready(notify, daemon->n_ports);
	for (uint32_t i = 0; i < daemon->n_nics; i++) {
		const struct nic *nic = daemon->nics[i].nic;

		if (nic->last_error)
			notify_status(notify, "%u ports served; nic %s: %s", daemon->n_ports,
			              nic->conf->name, nic->last_error);
	}
}

static int main_serve(const struct conf *conf, struct loop *loop)
{
	struct loop_source *signals[3] = {0};
	struct daemon *daemon = NULL;
	struct notify *notify = NULL;
	struct ctl *ctl = NULL;
	char *why = NULL;
	int status = 1, err;

	err = main_add_signals(loop, signals);
	/* Before any thread is made: capabilities belong to threads. */
	if (!err)
		err = privs_drop(&why);
	if (!err)
		err = daemon_new(conf, loop, &daemon, &why);
	if (!err && conf->control_socket)
		err = ctl_open(loop, conf->control_socket, ctl_methods, ctl_n_methods, daemon, &ctl,
		               &why);
	if (!err)
		err = notify_open(loop, &notify);
	if (err < 0) {
		log_error("%s", why ? why : strerror(-err));
	} else {
		log_info("vhost-xdpd " VX_VERSION " is ready: %u workers, %u nics, %u ports",
		         conf->n_workers, conf->n_nics, conf->n_ports);
		if (vhost_postcopy_missing())
			log_info("post-copy migration is not offered: %s",
			         vhost_postcopy_missing());
		main_tell_ready(notify, daemon);
		status = loop_run(loop);
		notify_stopping(notify);
	}
	free(why);
	notify_close(notify);
	ctl_close(ctl);
	daemon_free(daemon);
	loop_remove(signals[0]);
	loop_remove(signals[1]);
	loop_remove(signals[2]);
	return status;
}

int main(int argc, char **argv)
{
	struct main_options o;
	struct conf *conf = NULL;
	struct loop *loop = NULL;
	char *error = NULL;
	int status, err;

	status = main_parse(argc, argv, &o);
	if (status >= 0)
		return status;
	err = main_is_single(&o) ? conf_single(&o.single, &conf, &error)
	                         : conf_load(o.config, &conf, &error);
	if (err < 0 || (!o.unload && conf_check_system(conf, &error) < 0)) {
		fprintf(stderr, "%s\n", error ? error : "out of memory");
		free(error);
		conf_free(conf);
		return 1;
	}
	if (o.check_only || o.unload) {
		status = o.unload ? main_unload(conf) : 0;
		if (o.check_only)
			printf("%s: ok\n", o.config);
		conf_free(conf);
		return status;
	}
	log_init(o.verbose ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
	signal(SIGPIPE, SIG_IGN);
	main_raise_file_limit();
	if (main_is_single(&o) && !o.single.nic)
		log_warn("without --nic the guest's network device reaches nobody");
	err = loop_new(&loop);
	if (err < 0)
		log_error("cannot make the event loop: %s", strerror(-err));
	status = err < 0 ? 1 : main_serve(conf, loop);
	loop_free(loop);
	conf_free(conf);
	return status;
}
