/*
 * A Modbus/TCP server on libmodbus whose values change with time, for the tests
 * against other people's programs.
 *
 *   server PORT TRUTH TEXT TEXT TEXT TEXT UNIT...
 *
 * It listens on 127.0.0.1, on a free port where PORT is 0, and then prints
 *
 *   libmodbus VERSION
 *   listening PORT
 *
 * SIGTERM ends it between two answers, so that what TRUTH says was sent is on
 * its way to a client that is there.
 *
 * Each unit has the same map, addresses on the wire from 0:
 *
 *   holding 0-1    uint32 ABCD   counter: one more for each answer that holds both registers
 *   holding 2-3    float32 CDAB  160 to 200, a sine of 7 s
 *   holding 4      int16         -300 to 300, one more every 10 ms
 *   holding 5      uint16        0 to 3, one more every second
 *   holding 20-35  32 bytes      the first TEXT, padded with zeros
 *   holding 40-55  32 bytes      the second TEXT
 *   holding 60-75  32 bytes      the third TEXT
 *   holding 80-95  32 bytes      the fourth TEXT
 *   holding 99                   the last one: 100 and above are illegal
 *   input 0        int16         as holding 4, negated
 *   input 2-3      uint32 ABCD   milliseconds since the start
 *   coil 0         bool          changes every second
 *   coil 1         bool          the other way round
 *   discrete 0     bool          as coil 0
 *
 * Other units are answered with exception 11, as a gateway does; a request to do
 * anything but read with exception 1. TRUTH gets a line for each thing that
 * matters, before its answer leaves:
 *
 *   sent UNIT VALUE        a counter value
 *   unsent UNIT VALUE      the last line was not true: the client is gone
 *   refused UNIT FUNCTION  a request to do anything but read
 */

#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <modbus/modbus.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HOLDING = 100, INPUT = 10, BITS = 16, COUNTER = 0, TEXT = 20, TEXT_EVERY = 20, TEXT_BYTES = 32, TEXTS = 4 };

struct unit {
	int id;
	uint32_t counter;
	modbus_mapping_t *map;
};

static volatile sig_atomic_t stopped;

static void on_stop(int signal)
{
	(void)signal;
	stopped = 1;
}

static void die(const char *what)
{
	fprintf(stderr, "cannot %s: %s\n", what, modbus_strerror(errno));
	exit(1);
}

static int64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* number parses a whole decimal number within [min, max]. */
static int number(const char *s, int min, int max)
{
	char *end;
	errno = 0;
	long n = strtol(s, &end, 10);
	if (errno != 0 || *s == '\0' || *end != '\0' || n < min || n > max) {
		fprintf(stderr, "%s is no number from %d to %d\n", s, min, max);
		exit(2);
	}
	return (int)n;
}

/* set_values puts into the map what a machine has at time ms. */
static void set_values(struct unit *u, int64_t ms)
{
	uint16_t *h = u->map->tab_registers, *in = u->map->tab_input_registers;

	h[COUNTER] = u->counter >> 16;
	h[COUNTER + 1] = u->counter & 0xffff;
	float force = (float)(180 + 20 * sin(2 * M_PI * (double)ms / 7000));
	uint32_t bits;
	memcpy(&bits, &force, sizeof bits);
	h[2] = bits & 0xffff;
	h[3] = bits >> 16;
	int16_t saw = (int16_t)(ms / 10 % 601 - 300);
	h[4] = (uint16_t)saw;
	h[5] = (uint16_t)(ms / 1000 % 4);
	in[0] = (uint16_t)-saw;
	in[2] = (uint16_t)(ms >> 16);
	in[3] = (uint16_t)ms;
	uint8_t on = ms / 1000 % 2;
	u->map->tab_bits[0] = on;
	u->map->tab_bits[1] = !on;
	u->map->tab_input_bits[0] = on;
}

static void set_text(struct unit *u, int first, const char *s)
{
	uint8_t text[TEXT_BYTES] = {0};
	memcpy(text, s, strnlen(s, TEXT_BYTES));
	for (int i = 0; i < TEXT_BYTES / 2; i++)
		u->map->tab_registers[first + i] = (uint16_t)(text[2 * i] << 8 | text[2 * i + 1]);
}

static void tell(FILE *truth, const char *what, int unit, uint32_t number)
{
	if (fprintf(truth, "%s %d %u\n", what, unit, number) < 0 || fflush(truth) != 0)
		die("write the truth");
}

/*
 * answer takes one request from the connection that ctx is set to. The counter
 * moves on once the answer was sent.
 */
static int answer(modbus_t *ctx, struct unit *units, int count, int64_t start, FILE *truth)
{
	uint8_t q[MODBUS_TCP_MAX_ADU_LENGTH];
	int n = modbus_receive(ctx, q);
	if (n <= 0)
		return n;

	int header = modbus_get_header_length(ctx);
	int id = q[header - 1], function = q[header];
	if (function < MODBUS_FC_READ_COILS || function > MODBUS_FC_READ_INPUT_REGISTERS) {
		tell(truth, "refused", id, (uint32_t)function);
		return modbus_reply_exception(ctx, q, MODBUS_EXCEPTION_ILLEGAL_FUNCTION);
	}
	struct unit *u = NULL;
	for (int i = 0; i < count; i++)
		if (units[i].id == id)
			u = &units[i];
	if (u == NULL)
		return modbus_reply_exception(ctx, q, MODBUS_EXCEPTION_GATEWAY_TARGET);

	int first = q[header + 1] << 8 | q[header + 2], quantity = q[header + 3] << 8 | q[header + 4];
	bool counted = function == MODBUS_FC_READ_HOLDING_REGISTERS && first <= COUNTER &&
		first + quantity >= COUNTER + 2 && quantity <= MODBUS_MAX_READ_REGISTERS && first + quantity <= HOLDING;
	set_values(u, now_ms() - start);
	if (counted)
		tell(truth, "sent", u->id, u->counter);
	int sent = modbus_reply(ctx, q, n, u->map);
	if (counted && sent <= 0)
		tell(truth, "unsent", u->id, u->counter);
	else if (counted)
		u->counter++;
	return sent;
}

int main(int argc, char **argv)
{
	const int first_unit = 3 + TEXTS;
	if (argc < first_unit + 1) {
		fprintf(stderr, "usage: server PORT TRUTH TEXT TEXT TEXT TEXT UNIT...\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, SIG_IGN);
	/* SIGTERM comes through only while pselect waits. */
	sigset_t term, none;
	sigemptyset(&none);
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, NULL);
	struct sigaction stop = {.sa_handler = on_stop};
	sigaction(SIGTERM, &stop, NULL);

	FILE *truth = fopen(argv[2], "a+");
	if (truth == NULL)
		die("open the file of truth");
	int count = argc - first_unit;
	struct unit *units = calloc((size_t)count, sizeof *units);
	if (units == NULL)
		die("allocate the units");
	for (int i = 0; i < count; i++) {
		units[i].id = number(argv[first_unit + i], 0, 255);
		units[i].counter = 1;
		units[i].map = modbus_mapping_new(BITS, BITS, HOLDING, INPUT);
		if (units[i].map == NULL)
			die("allocate a map");
		for (int k = 0; k < TEXTS; k++)
			set_text(&units[i], TEXT + k * TEXT_EVERY, argv[3 + k]);
	}
	/* A server that starts again counts on, so that no value comes twice. */
	rewind(truth);
	char what[8];
	int id;
	for (uint32_t value; fscanf(truth, "%7s %d %u", what, &id, &value) == 3;)
		for (int i = 0; i < count; i++)
			if (units[i].id == id && strcmp(what, "refused") != 0)
				units[i].counter = value + (strcmp(what, "sent") == 0);
	fseek(truth, 0, SEEK_END);

	modbus_t *ctx = modbus_new_tcp("127.0.0.1", number(argv[1], 0, 65535));
	if (ctx == NULL)
		die("make a context");
	int listener = modbus_tcp_listen(ctx, 8);
	if (listener < 0)
		die("listen");
	struct sockaddr_in at;
	socklen_t size = sizeof at;
	if (getsockname(listener, (struct sockaddr *)&at, &size) < 0)
		die("learn the port");
	printf("libmodbus %u.%u.%u\n", libmodbus_version_major, libmodbus_version_minor, libmodbus_version_micro);
	printf("listening %d\n", ntohs(at.sin_port));

	int64_t start = now_ms();
	fd_set open;
	FD_ZERO(&open);
	FD_SET(listener, &open);
	for (int highest = listener;;) {
		fd_set ready = open;
		if (pselect(highest + 1, &ready, NULL, NULL, NULL, &none) < 0) {
			if (errno == EINTR && stopped)
				return 0;
			die("select");
		}
		for (int fd = 0; fd <= highest; fd++) {
			if (!FD_ISSET(fd, &ready))
				continue;
			if (fd == listener) {
				int c = accept(listener, NULL, NULL);
				if (c < 0)
					continue;
				if (c >= FD_SETSIZE) {
					close(c);
					continue;
				}
				FD_SET(c, &open);
				if (c > highest)
					highest = c;
				continue;
			}
			modbus_set_socket(ctx, fd);
			if (answer(ctx, units, count, start, truth) < 0) {
				close(fd);
				FD_CLR(fd, &open);
			}
		}
	}
}
