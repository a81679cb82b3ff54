// SPDX-License-Identifier: BSD-2-Clause
/*
 * test_xdpctl.c - vhost-xdpctl as it is run, against a server that says what we want
 *
 * Each row: arguments, what the server answers (NULL: it is not asked), the request that it must
 * get, exit status and output. The program's path is in VX_CTL.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base.h"

static char dir[] = "/tmp/vx-test-xdpctl-XXXXXX";
static char path[64];
static int listener;

#define MOVE(method, name)                                                                         \
	"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"" method "\",\"params\":{\"name\":\"" name     \
	"\",\"queue\":1,\"worker\":0}}\n"
#define REQUEST(method) "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"" method "\"}\n"
#define RESULT(json)    "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":" json "}\n"

#define PORT_A                                                                                     \
	"{\"name\":\"a\",\"id\":1,\"socket\":\"/run/a\",\"listen\":true,\"state\":\"running\","    \
	"\"since_s\":3725,\"nic\":\"n0\",\"vlan\":7,\"macs\":[\"02:00:00:00:00:01\","              \
	"\"02:00:00:00:00:02\"],\"peer_pid\":42,\"features\":[\"MQ\",\"VERSION_1\"],"              \
	"\"protocol_features\":[],\"queue_pairs\":2,\"max_queue_pairs\":8,\"mtu\":1500,"           \
	"\"guest_memory_bytes\":536870912,\"regions\":2,\"last_error\":null,\"connects\":3,"       \
	"\"queues\":[{\"index\":0,\"kind\":\"rx\",\"started\":true,\"enabled\":true,\"size\":256," \
	"\"worker\":null,\"node\":1,\"frames\":5,\"bytes\":300,\"calls\":2,\"fault\":null,"        \
	"\"avail\":261,"                                                                           \
	"\"used\":5},{\"index\":1,\"kind\":\"tx\",\"started\":false,\"enabled\":false,"            \
	"\"size\":256,\"worker\":1,\"node\":null,\"frames\":0,\"bytes\":0,\"calls\":0,"            \
	"\"fault\":\"bad-head\",\"avail\":0,\"used\":0}],"                                         \
	"\"to_guest\":{\"frames\":5,\"bytes\":300,\"drops\":{\"no-buffer\":12,\"no-guest\":0}},"   \
	"\"from_guest\":{\"frames\":0,\"bytes\":0,\"drops\":{\"too-long\":1,\"no-link\":2}}}"
/* What an older or newer daemon might say: fields are missing or of another type. */
#define PORT_B "{\"name\":\"b\\u001b[1m\",\"macs\":7,\"since_s\":\"x\",\"last_error\":\"no\\nway\"}"

#define NIC_A                                                                                      \
	"{\"name\":\"n0\",\"mode\":\"steered\",\"state\":\"up\",\"driver\":\"veth\","              \
	"\"mac\":\"02:00:00:00:00:ff\",\"ifindex\":3,\"mtu\":1500,\"xdp_mode\":\"native\","        \
	"\"copy_mode\":\"copy\",\"yield\":\"auto\",\"napi_busy_poll\":64,"                         \
	"\"prog_id\":17,\"adopted\":true,\"miss\":\"redirect\","                                   \
	"\"redirect_to\":\"br0\",\"no_daemon\":\"drop\",\"resets\":1,\"error\":null,"              \
	"\"queues\":[{\"queue\":0,\"worker\":0,\"node\":1,\"rx_frames\":10,\"rx_bytes\":640,"      \
	"\"tx_frames\":4,\"tx_bytes\":256,\"kicks\":4,\"kick_again\":0,\"kick_lost\":1,"           \
	"\"kick_error\":0,\"yields\":3,\"busy_polls\":true,\"napi_id\":8193,"                      \
	"\"kernel\":{\"rx_dropped\":2,\"rx_ring_full\":0}}],"                                      \
	"\"verdicts\":{\"guest\":{\"frames\":10,\"bytes\":640}},\"drops\":{\"no-port\":4}}"

#define WORKER_A                                                                                   \
	"{\"id\":0,\"cpu\":1,\"node\":0,\"tid\":99,\"state\":\"sleeping\",\"load\":12,"            \
	"\"wakeup_latency\":\"held\",\"cpu_time_us\":1234567,"                                     \
	"\"sleeps\":8,\"bursts\":3,\"frames\":20,\"queues\":[\"nic n0 q0\",\"port a q0\"]}"

#define SHOW                                                                                       \
	"{\"version\":\"0.1\",\"pid\":42,\"uptime_s\":59,\"config\":\"/etc/x.yaml\","              \
	"\"control_socket\":\"/run/c\",\"pin_dir\":\"/sys/fs/bpf/x\",\"busy_poll_us\":50,"         \
	"\"wakeup_latency_us\":10,"                                                                \
	"\"workers\":[" WORKER_A "],\"nics\":[" NIC_A "],\"ports\":[" PORT_A "]}"

#define WORKER_TEXT                                                                                \
	"  worker 0 on CPU 1 (tid 99): sleeping, busy 12 %, 1.235 s of CPU, 20 frames, 8 sleeps\n" \
	"    limit of the CPU's wake-up latency: held\n"                                           \
	"    serves nic n0 q0, port a q0\n"

#define NIC_TEXT                                                                                   \
	"  nic n0: steered, up\n"                                                                  \
	"    driver veth, mac 02:00:00:00:00:ff, ifindex 3, mtu 1500, bound 1 times\n"             \
	"    XDP native, program id 17 (taken over), frames move by copy\n"                        \
	"    yield auto, napi-busy-poll 64\n"                                                      \
	"    frames for no guest: redirect to br0; guests' frames without a daemon: drop\n"        \
	"    steered: guest 10\n"                                                                  \
	"    dropped: no-port 4\n"                                                                 \
	"    QUEUE  WORKER  NODE  FROM-WIRE  BYTES  TO-WIRE  BYTES  KICKS  AGAIN  LOST  ERROR  "   \
	"YIELDS\n"                                                                                 \
	"        0       0     1         10    640        4    256      4      0     1      0    " \
	"   "                                                                                      \
	"3\n"                                                                                      \
	"    queue 0: the worker polls the driver, NAPI id 8193\n"                                 \
	"    queue 0, kernel: rx_dropped 2\n"

#define PORT_TEXT                                                                                  \
	"  port a (id 1): running for 1h02m\n"                                                     \
	"    socket /run/a (listening), 3 connections so far, front end's pid 42\n"                \
	"    nic n0, vlan 7, macs 02:00:00:00:00:01, 02:00:00:00:00:02\n"                          \
	"    queue pairs 2 of 8, guest memory 512.0M in 2 regions, mtu 1500\n"                     \
	"    features: MQ, VERSION_1\n"                                                            \
	"    protocol features: none\n"                                                            \
	"    to guest: 5 frames, 300 bytes\n"                                                      \
	"      dropped: no-buffer 12\n"                                                            \
	"    from guest: 0 frames, 0 bytes\n"                                                      \
	"      dropped: too-long 1, no-link 2\n"                                                   \
	"    RING  KIND  STATE    SIZE  AVAIL  USED  WORKER  NODE  FRAMES  BYTES  CALLS  FAULT\n"  \
	"       0  rx    running   256    261     5       -     1       5    300      2  -\n"      \
	"       1  tx    stopped   256      0     0       1     -       0      0      0  "         \
	"bad-head\n"

static const struct row {
	const char *args, *request, *answer;
	int status;
	const char *output; /* of stdout, then stderr */
} rows[] = {
	{"version", REQUEST("version"), RESULT("{\"version\":\"0.1\",\"pid\":42}"), 0,
         "vhost-xdpd 0.1, pid 42\n"},
	{"-j version", REQUEST("version"), RESULT("{\"version\": \"0.1\", \"pid\": 42}"), 0,
         "{\"version\":\"0.1\",\"pid\":42}\n"},
	{"--pretty v", REQUEST("version"), RESULT("{\"pid\":42}"), 0, "{\n  \"pid\": 42\n}\n"},
	{"port list", REQUEST("port.list"), RESULT("{\"ports\":[" PORT_A "," PORT_B "]}"), 0,
         "NAME   STATE    NIC  VLAN  QUEUES   MTU  PID  SINCE  MACS                  ERROR\n"
         "a      running  n0      7     2/8  1500   42  1h02m  02:00:00:00:00:01 +1  -\n"
         "b?[1m  -        -       -     -/-     -    -  -      -                     no?way\n"},
	{"port", REQUEST("port.list"), RESULT("{\"ports\":[]}"), 0,
         "NAME  STATE  NIC  VLAN  QUEUES  MTU  PID  SINCE  MACS  ERROR\n"},
	{"p l", REQUEST("port.list"), RESULT("{\"ports\":3}"), 0,
         "NAME  STATE  NIC  VLAN  QUEUES  MTU  PID  SINCE  MACS  ERROR\n"},
	{"port show a", REQUEST("port.list"), RESULT("{\"ports\":[" PORT_B "," PORT_A "]}"), 0,
         PORT_TEXT},
	{"-j port show a", REQUEST("port.list"), RESULT("{\"ports\":[{\"name\":\"a\"}]}"), 0,
         "{\"name\":\"a\"}\n"},
	{"port show c", REQUEST("port.list"), RESULT("{\"ports\":[" PORT_A "]}"), 1,
         "vhost-xdpctl: there is no port 'c'\n"},
	{"mac list", REQUEST("mac.list"),
         RESULT("{\"macs\":[{\"mac\":\"02:00:00:00:00:01\",\"vlan\":7,\"port\":\"a\",\"port_id\":1,"
                "\"nic\":\"n0\",\"state\":\"up\"}]}"),
         0,
         "MAC                VLAN  PORT  ID  NIC  STATE\n"
         "02:00:00:00:00:01     7  a      1  n0   up\n"},
	{"nic list", REQUEST("nic.list"), RESULT("{\"nics\":[" NIC_A "]}"), 0,
         "NAME  MODE     STATE  XDP     COPY  QUEUES  DRIVER  MAC                 MTU  ERROR\n"
         "n0    steered  up     native  copy       1  veth    02:00:00:00:00:ff  1500  -\n"},
	{"nic show n0", REQUEST("nic.list"), RESULT("{\"nics\":[" NIC_A "]}"), 0, NIC_TEXT},
	{"w", REQUEST("worker.list"), RESULT("{\"workers\":[" WORKER_A "]}"), 0,
         "ID  CPU  NODE  TID  STATE     BUSY%  CPU-TIME  SLEEPS  FRAMES  BURSTS  SERVES\n"
         " 0    1     0   99  sleeping     12    1.235s       8      20       3  nic n0 q0 +1\n"},
	{"worker show 0", REQUEST("worker.list"), RESULT("{\"workers\":[" WORKER_A "]}"), 0,
         WORKER_TEXT},
	{"worker show 1", REQUEST("worker.list"), RESULT("{\"workers\":[" WORKER_A "]}"), 1,
         "vhost-xdpctl: there is no worker '1'\n"},
	{"port move a 1 0", MOVE("port.move", "a"), RESULT("{\"worker\":0}"), 0,
         "served by worker 0\n"},
	{"nic move n0 1 0", MOVE("nic.move", "n0"), RESULT("{\"worker\":0}"), 0,
         "served by worker 0\n"},
	{"show", REQUEST("show"), RESULT(SHOW), 0,
         "vhost-xdpd 0.1, pid 42, up 59s\n"
         "  configuration /etc/x.yaml\n"
         "  control socket /run/c, pins in /sys/fs/bpf/x, busy poll 50 us\n"
         "  CPUs of workers with traffic wake up within 10 us\n" WORKER_TEXT NIC_TEXT PORT_TEXT},
	{"stats", REQUEST("stats"), RESULT("{\"ports\":[" PORT_A "],\"nics\":[" NIC_A "]}"), 0,
         "PORT  TO-GUEST  BYTES  DROPS  FROM-GUEST  BYTES  DROPS\n"
         "a            5    300     12           0      0      3\n"
         "\n"
         "NIC  QUEUE  FROM-WIRE  BYTES  TO-WIRE  BYTES  KICKS  LOST\n"
         "n0       0         10    640        4    256      4     3\n"
         "drops: port a, to guest: no-buffer 12\n"
         "drops: port a, from guest: too-long 1, no-link 2\n"
         "drops: nic n0: no-port 4\n"
         "\n"
         "nic n0: what the steering program did\n"
         "  VERDICT  FRAMES  BYTES\n"
         "  guest        10    640\n"},
	{"stats a",
         "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"stats\",\"params\":{\"port\":\"a\"}}\n",
         RESULT("{\"ports\":[" PORT_A "]}"), 0,
         "PORT  TO-GUEST  BYTES  DROPS  FROM-GUEST  BYTES  DROPS\n"
         "a            5    300     12           0      0      3\n"
         "drops: port a, to guest: no-buffer 12\n"
         "drops: port a, from guest: too-long 1, no-link 2\n"},
	{"methods", REQUEST("rpc.methods"),
         RESULT("{\"methods\":[{\"name\":\"x\",\"help\":\"does x\",\"mutates\":true}]}"), 0,
         "METHOD  CHANGES  WHAT\n"
         "x       yes      does x\n"},

	/* the daemon refuses, or is none */
	{"stats", REQUEST("stats"),
         "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32000,\"message\":\"no\\u001bway\"}}"
         "\n",
         1, "vhost-xdpctl: no?way\n"},
	{"show", REQUEST("show"), "\x80 nonsense\n", 1,
         "vhost-xdpctl: the daemon's answer is not JSON: unable to decode byte 0x80\n"},
	{"show", REQUEST("show"), "{}\n", 1, "vhost-xdpctl: the daemon's answer makes no sense\n"},
	{"show", REQUEST("show"), "[1]\n", 1, "vhost-xdpctl: the daemon's answer makes no sense\n"},
	{"show", REQUEST("show"), RESULT("7"), 1,
         "vhost-xdpctl: the daemon's answer makes no sense\n"},
	{"show", REQUEST("show"), "{\"half", 1,
         "vhost-xdpctl: PATH: the daemon closed the connection\n"},
	{"-s /absent/c.sock show", NULL, NULL, 1,
         "vhost-xdpctl: cannot connect to /absent/c.sock: No such file or directory (is vhost-xdpd "
         "running?)\n"},

	/* wrong usage */
	{"s", NULL, NULL, 2, "vhost-xdpctl: ambiguous 's': show, stats\n"},
	{"zap", NULL, NULL, 2, "vhost-xdpctl: unknown verb 'zap', see vhost-xdpctl help\n"},
	{"port zap", NULL, NULL, 2,
         "vhost-xdpctl: unknown verb 'zap' for port, see vhost-xdpctl help\n"},
	{"port show", NULL, NULL, 2, "vhost-xdpctl: port show needs a name\n"},
	{"port move a", NULL, NULL, 2, "vhost-xdpctl: port move needs NAME QUEUE WORKER\n"},
	{"port move a 0 1 2", NULL, NULL, 2, "vhost-xdpctl: unexpected argument '2'\n"},
	{"port move a x 1", NULL, NULL, 2, "vhost-xdpctl: 'x' is no number\n"},
	{"port list a", NULL, NULL, 2, "vhost-xdpctl: unexpected argument 'a'\n"},
	{"stats a b", NULL, NULL, 2, "vhost-xdpctl: unexpected argument 'b'\n"},
	{"show all", NULL, NULL, 2, "vhost-xdpctl: unexpected argument 'all'\n"},
	{"--nonsense show", NULL, NULL, 2,
         "PROGRAM: unrecognized option '--nonsense'\nSee vhost-xdpctl help.\n"},
	{"--version", NULL, NULL, 0, "vhost-xdpctl " VX_VERSION "\n"},
};

/* Starts the program with words split at blanks; stdout and stderr go to @fd. */
static pid_t start(const char *args, int fd)
{
	char *words = strdup(args), *argv[16] = {(char *)(uintptr_t)VX_CTL, NULL};
	size_t n = 1;
	pid_t pid;

	assert_non_null(words);
	if (!strstr(args, "-s ")) {
		argv[n++] = (char *)(uintptr_t) "--socket";
		argv[n++] = path;
	}
	for (char *w = strtok(words, " "); w; w = strtok(NULL, " "))
		argv[n++] = w;
	argv[n] = NULL;
	pid = fork();
	if (!pid) {
		dup2(fd, 1);
		dup2(fd, 2);
		execv(VX_CTL, argv);
		_exit(127);
	}
	free(words);
	assert_true(pid > 0);
	return pid;
}

/* Takes one connection: compares the request, gives the answer. */
static bool serve(const char *request, const char *answer)
{
	char text[1024];
	size_t len = 0;
	int fd = accept(listener, NULL, NULL);
	bool same;

	assert_true(fd >= 0);
	do {
		ssize_t n = recv(fd, text + len, sizeof(text) - 1 - len, 0);

		assert_true(n > 0);
		len += (size_t)n;
	} while (text[len - 1] != '\n');
	text[len] = '\0';
	same = !strcmp(text, request);
	if (!same)
		print_error("wanted request %sgot %s", request, text);
	assert_int_equal(send(fd, answer, strlen(answer), MSG_NOSIGNAL), (ssize_t)strlen(answer));
	close(fd);
	return same;
}

/* Puts @word where the text has what only this run knows. */
static void replace(char *text, const char *known, const char *word)
{
	for (char *p; (p = strstr(text, known));) {
		memmove(p + strlen(word), p + strlen(known), strlen(p + strlen(known)) + 1);
		memcpy(p, word, strlen(word));
	}
}

static bool run_row(const struct row *row)
{
	char output[8192];
	size_t len = 0;
	int fds[2], status;
	bool same = true;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	pid = start(row->args, fds[1]);
	close(fds[1]);
	if (row->request)
		same = serve(row->request, row->answer);
	while ((n = read(fds[0], output + len, sizeof(output) - 1 - len)) > 0)
		len += (size_t)n;
	output[len] = '\0';
	close(fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	replace(output, path, "PATH");
	replace(output, VX_CTL, "PROGRAM");
	if (!WIFEXITED(status) || WEXITSTATUS(status) != row->status) {
		print_error("vhost-xdpctl %s: status %#x\n", row->args, (unsigned int)status);
		same = false;
	}
	if (strcmp(output, row->output) != 0) {
		print_error("vhost-xdpctl %s: wanted\n%sfound\n%s", row->args, row->output, output);
		same = false;
	}
	return same;
}

static void test_rows(void **state)
{
	int bad = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		bad += !run_row(&rows[i]);
	assert_int_equal(bad, 0);
}

/* An answer of megabytes. */
static void test_long_answer(void **state)
{
	const size_t room = 8 << 20;
	struct row row = {"-j version", REQUEST("version"), NULL, 0, NULL};
	char *answer = malloc(room), *output = malloc(room);
	int fds[2], status, fd;
	char request[256];
	size_t len = 0;
	ssize_t n;
	pid_t pid;

	(void)state;
	assert_non_null(answer);
	assert_non_null(output);
	strcpy(answer, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"x\":\"");
	memset(answer + strlen(answer), 'x', 5 << 20);
	strcpy(answer + strlen("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"x\":\"") + (5 << 20),
	       "\"}}\n");
	assert_int_equal(pipe(fds), 0);
	pid = start(row.args, fds[1]);
	close(fds[1]);
	fd = accept(listener, NULL, NULL);
	assert_true(recv(fd, request, sizeof(request), 0) > 0);
	assert_int_equal(send(fd, answer, strlen(answer), MSG_NOSIGNAL), (ssize_t)strlen(answer));
	while ((n = read(fds[0], output + len, room - len)) > 0)
		len += (size_t)n;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(len, (5 << 20) + strlen("{\"x\":\"\"}\n"));
	close(fd);
	close(fds[0]);
	free(answer);
	free(output);
}

/* The usage lists each verb; help is not an error, no verb is. */
static void test_usage(void **state)
{
	static const char *const words[] = {"  show ",        "  stats [PORT] ",
	                                    "  port list ",   "  port show NAME ",
	                                    "  mac list ",    "  nic list ",
	                                    "  worker list ", "  version ",
	                                    "  help ",        "  nic move NAME QUEUE WORKER "};
	char output[8192];
	int fds[2], status;
	ssize_t n;
	size_t len = 0;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(waitpid(start("help", fds[1]), &status, 0) > 0, 1);
	assert_int_equal(status, 0);
	close(fds[1]);
	while ((n = read(fds[0], output + len, sizeof(output) - 1 - len)) > 0)
		len += (size_t)n;
	output[len] = '\0';
	close(fds[0]);
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		assert_non_null(strstr(output, words[i]));
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(waitpid(start("", fds[1]), &status, 0) > 0, 1);
	assert_int_equal(WEXITSTATUS(status), 2);
	close(fds[0]);
	close(fds[1]);
}

static int set_up(void **state)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	(void)state;
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/c.sock", dir);
	strcpy(addr.sun_path, path);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return bind(listener, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	       listen(listener, 4) < 0;
}

static int tear_down(void **state)
{
	(void)state;
	close(listener);
	unlink(path);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_long_answer),
		cmocka_unit_test(test_usage),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
