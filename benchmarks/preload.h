/* What a preloaded library needs to ask the other process: preload.py. SIMULATION is the number of
 * the socket to it. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static void fail(const char *why)
{
	fprintf(stderr, "preload: %s\n", why);
	_exit(70);
}

static const char *variable(const char *name)
{
	const char *text = getenv(name);

	if (!text)
		fail(name);
	return text;
}

static int other_process(void)
{
	static int number = -1;

	if (number < 0)
		number = atoi(variable("SIMULATION"));
	return number;
}

static void send_all(const void *data, size_t length)
{
	const char *next = data;
	long count;

	for (; length; length -= count, next += count) {
		count = syscall(SYS_write, other_process(), next, length);
		if (count <= 0)
			fail("the simulation has ended");
	}
}

static void receive_all(void *data, size_t length)
{
	char *next = data;
	long count;

	for (; length; length -= count, next += count) {
		count = syscall(SYS_read, other_process(), next, length);
		if (count <= 0)
			fail("the simulation has ended");
	}
}

/* The third argument of open, if it has one. */
static mode_t mode_in(int flags, va_list arguments)
{
	return flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
}
