/* A serial port whose other end is in another process, and the time of that process, for an
 * unmodified program: preload this with LD_PRELOAD. serial_port.py is the other process.
 *
 * The bytes pass through a pty. Added is what a pty lacks: rate and parity, DTR and RTS, and that
 * the program waits and sleeps in the time of the simulation. Every other file is passed on.
 *
 * SIMULATED_TTY is the path of the pty. A request is `struct request`, an answer an int64. */

#include "preload.h"

#include <dlfcn.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <termios.h>

struct request {
	uint8_t what;	 /* 'w'ritten, 'r'ead, 'f'lush, 's'leep, 'd'rain, 'm'odem lines, 'c'onfigured */
	uint8_t parity;	 /* 'N', 'E', 'O' */
	uint8_t bits;
	uint8_t stop;
	uint64_t amount; /* of bytes; of microseconds; TIOCM_ bits; rate */
	uint64_t taken;	 /* bytes that the program has read so far */
};

static const uint64_t FOREVER = (uint64_t)3600 * 1000000;
static int tty = -1; /* the descriptor that the program has for the port */
static struct termios asked; /* as the program has set it */
static int is_asked;
static int lines;
static uint64_t taken;

static int64_t ask_with(struct request request)
{
	int64_t result;

	send_all(&request, sizeof(request));
	receive_all(&result, sizeof(result));
	return result;
}

static int64_t ask(char what, uint64_t amount)
{
	struct request request = { .what = what, .amount = amount, .taken = taken };

	return ask_with(request);
}

/* The pty hands a byte over that is in it. */
static void await_byte(void)
{
	struct pollfd here = { .fd = tty, .events = POLLIN };

	if (poll(&here, 1, 10000) != 1)
		fail("the pty lost a byte");
}

/* Whether a byte can be read within `us` of simulated time. */
static int readable(uint64_t us)
{
	if (!ask('r', us))
		return 0;
	await_byte();
	return 1;
}

static int opened(const char *path, int flags, va_list arguments)
{
	int file = syscall(SYS_openat, AT_FDCWD, path, flags, mode_in(flags, arguments));

	if (file >= 0 && !strcmp(path, variable("SIMULATED_TTY")))
		tty = file;
	return file;
}

int open(const char *path, int flags, ...)
{
	va_list arguments;
	int file;

	va_start(arguments, flags);
	file = opened(path, flags, arguments);
	va_end(arguments);
	return file;
}

int open64(const char *path, int flags, ...)
{
	va_list arguments;
	int file;

	va_start(arguments, flags);
	file = opened(path, flags | O_LARGEFILE, arguments);
	va_end(arguments);
	return file;
}

int close(int file)
{
	if (file == tty)
		tty = -1;
	return syscall(SYS_close, file);
}

ssize_t write(int file, const void *data, size_t length)
{
	ssize_t count = syscall(SYS_write, file, data, length);

	if (file >= 0 && file == tty && count > 0)
		ask('w', count);
	return count;
}

ssize_t read(int file, void *data, size_t length)
{
	ssize_t count;
	int blocks;

	if (file >= 0 && file == tty) {
		blocks = !(fcntl(file, F_GETFL) & O_NONBLOCK);
		if (blocks && is_asked && asked.c_cc[VMIN] == 0 &&
		    !readable((uint64_t)asked.c_cc[VTIME] * 100000))
			return 0;
		if (blocks && !(is_asked && asked.c_cc[VMIN] == 0))
			readable(FOREVER);
	}
	count = syscall(SYS_read, file, data, length);
	if (file >= 0 && file == tty && count > 0)
		taken += count;
	return count;
}

int select(int count, fd_set *reads, fd_set *writes, fd_set *errors, struct timeval *limit)
{
	static int (*next)(int, fd_set *, fd_set *, fd_set *, struct timeval *);
	uint64_t us = FOREVER;
	int result;

	if (tty >= 0 && writes && FD_ISSET(tty, writes)) {
		if (reads)
			FD_ZERO(reads);
		return 1;
	}
	if (tty >= 0 && reads && FD_ISSET(tty, reads)) {
		if (limit)
			us = (uint64_t)limit->tv_sec * 1000000 + limit->tv_usec;
		result = readable(us);
		FD_ZERO(reads);
		if (result)
			FD_SET(tty, reads);
		return result;
	}
	if (!next)
		next = dlsym(RTLD_NEXT, "select");
	return next(count, reads, writes, errors, limit);
}

static uint32_t rate_of(speed_t speed)
{
	static const struct {
		speed_t speed;
		uint32_t rate;
	} known[] = { { B1200, 1200 },	   { B9600, 9600 },	{ B19200, 19200 },
		      { B38400, 38400 },   { B57600, 57600 },	{ B115200, 115200 },
		      { B230400, 230400 }, { B460800, 460800 }, { B921600, 921600 },
		      { B1000000, 1000000 } };
	size_t index;

	for (index = 0; index < sizeof(known) / sizeof(*known); index++)
		if (known[index].speed == speed)
			return known[index].rate;
	fail("a rate that is not known here");
	return 0;
}

int tcsetattr(int file, int when, const struct termios *settings)
{
	static int (*next)(int, int, const struct termios *);
	struct request request = { .what = 'c' };
	tcflag_t flags = settings->c_cflag;

	if (!next)
		next = dlsym(RTLD_NEXT, "tcsetattr");
	if (file >= 0 && file == tty) {
		asked = *settings;
		is_asked = 1;
		request.parity = !(flags & PARENB) ? 'N' : flags & PARODD ? 'O' : 'E';
		request.bits = (flags & CSIZE) == CS8 ? 8 : 7;
		request.stop = flags & CSTOPB ? 2 : 1;
		request.amount = rate_of(cfgetospeed(settings));
		ask_with(request);
	}
	return next(file, when, settings);
}

int tcgetattr(int file, struct termios *settings)
{
	static int (*next)(int, struct termios *);
	int result;

	if (!next)
		next = dlsym(RTLD_NEXT, "tcgetattr");
	result = next(file, settings);
	if (file >= 0 && file == tty && is_asked)
		*settings = asked;
	return result;
}

int tcdrain(int file)
{
	if (file >= 0 && file == tty)
		ask('d', 0);
	return 0;
}

int tcflush(int file, int queue)
{
	char dropped[256];
	uint64_t arrived;

	if (file < 0 || file != tty || queue == TCOFLUSH)
		return 0;
	for (arrived = ask('f', 0); taken < arrived;) {
		await_byte();
		read(file, dropped, sizeof(dropped));
	}
	return 0;
}

int ioctl(int file, unsigned long what, ...)
{
	va_list arguments;
	void *argument;

	va_start(arguments, what);
	argument = va_arg(arguments, void *);
	va_end(arguments);
	if (file >= 0 && file == tty) {
		switch (what) {
		case TIOCMGET:
			*(int *)argument = lines;
			return 0;
		case TIOCMBIS:
			lines |= *(int *)argument;
			break;
		case TIOCMBIC:
			lines &= ~*(int *)argument;
			break;
		case TIOCMSET:
			lines = *(int *)argument;
			break;
		default:
			return syscall(SYS_ioctl, file, what, argument);
		}
		ask('m', lines);
		return 0;
	}
	return syscall(SYS_ioctl, file, what, argument);
}

static uint64_t us_of(const struct timespec *duration)
{
	return (uint64_t)duration->tv_sec * 1000000 + duration->tv_nsec / 1000;
}

int usleep(useconds_t duration)
{
	ask('s', duration);
	return 0;
}

int nanosleep(const struct timespec *duration, struct timespec *left)
{
	(void)left;
	ask('s', us_of(duration));
	return 0;
}

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *until,
		    struct timespec *left)
{
	struct timespec now = { 0, 0 };

	(void)left;
	if (flags & TIMER_ABSTIME)
		syscall(SYS_clock_gettime, clock, &now);
	if (us_of(until) > us_of(&now))
		ask('s', us_of(until) - us_of(&now));
	return 0;
}
