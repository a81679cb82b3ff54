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
#include "ctl.h"
#include "ctl_methods.h"
#include "daemon.h"
#include "log.h"
#include "loop.h"
#include "notify.h"
#include "privs.h"

#define MAIN_DEFAULT_CONFIG "/etc/vhost-xdp/vhost-xdpd.yaml"
#define MAIN_MAX_FILES      1048576

struct main_options {
	const char *config;
	bool check_only;
	bool unload;
	bool verbose;
};

static void main_usage(FILE *out)
{
	fprintf(out,
	        "Usage: vhost-xdpd [--config FILE] [--foreground] [--verbose]\n"
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
	        "      --foreground       accepted for convenience; the daemon never forks\n"
	        "  -v, --verbose          log more\n");
}

enum { OPT_CHECK = 256, OPT_UNLOAD, OPT_FOREGROUND, OPT_CAPABILITIES, OPT_VERSION };

/* Return: -1 to go on, or the exit status. */
static int main_parse(int argc, char **argv, struct main_options *o)
{
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'},
		{"check-config", no_argument, NULL, OPT_CHECK},
		{"unload", no_argument, NULL, OPT_UNLOAD},
		{"foreground", no_argument, NULL, OPT_FOREGROUND},
		{"print-capabilities", no_argument, NULL, OPT_CAPABILITIES},
		{"verbose", no_argument, NULL, 'v'},
		{"version", no_argument, NULL, OPT_VERSION},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int c;

	*o = (struct main_options){.config = MAIN_DEFAULT_CONFIG};
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
			main_usage(stderr);
			return 1;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "vhost-xdpd: unexpected argument '%s'\n", argv[optind]);
		main_usage(stderr);
		return 1;
	}
	return -1;
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
	if (!err)
		err = ctl_open(loop, conf->control_socket, ctl_methods, ctl_n_methods, daemon, &ctl,
		               &why);
	if (!err)
		err = notify_open(loop, &notify);
	if (err < 0) {
		log_error("%s", why ? why : strerror(-err));
	} else {
		log_info("vhost-xdpd " VX_VERSION " is ready: %u workers, %u nics, %u ports",
		         conf->n_workers, conf->n_nics, conf->n_ports);
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
	if (conf_load(o.config, &conf, &error) < 0 ||
	    (!o.unload && conf_check_system(conf, &error) < 0)) {
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
	err = loop_new(&loop);
	if (err < 0)
		log_error("cannot make the event loop: %s", strerror(-err));
	status = err < 0 ? 1 : main_serve(conf, loop);
	loop_free(loop);
	conf_free(conf);
	return status;
}
