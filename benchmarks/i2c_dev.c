/* An I2C bus of Linux that is in another process, and the time of that process, for an unmodified
 * program: preload this with LD_PRELOAD. i2c_dev.py is the other process.
 *
 * Replaces what stm32flash 0.7 uses of the C library: open, close, read, write and ioctl for
 * /dev/i2c-N, and usleep and time. Every other file is passed on to the kernel.
 *
 * A request is `struct request`, followed by the bytes of a write. An answer is an int64: a count
 * or a time, or a negative errno; the bytes of a read follow it. */

#include "preload.h"

#include <linux/i2c-dev.h>
#include <linux/i2c.h>

struct request {
	uint8_t what;	  /* 'r'ead, 'w'rite, 's'leep, 't'ime */
	uint8_t address;  /* 7 bits */
	uint16_t unused;
	uint32_t amount;  /* of bytes; of microseconds */
};

static const char BUS[] = "/dev/i2c-";
static int bus = -1;  /* the descriptor that the program has for the bus */
static uint8_t address;

static int64_t ask(char what, uint32_t amount, const void *sent, void *received)
{
	struct request request = { what, address, 0, amount };
	int64_t result;

	send_all(&request, sizeof(request));
	if (sent)
		send_all(sent, amount);
	receive_all(&result, sizeof(result));
	if (result < 0) {
		errno = -result;
		return -1;
	}
	if (received)
		receive_all(received, result);
	return result;
}

int open(const char *path, int flags, ...)
{
	va_list arguments;
	mode_t mode;

	va_start(arguments, flags);
	mode = mode_in(flags, arguments);
	va_end(arguments);
	if (strncmp(path, BUS, sizeof(BUS) - 1))
		return syscall(SYS_openat, AT_FDCWD, path, flags, mode);
	bus = syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR, 0);
	return bus;
}

int close(int file)
{
	if (file == bus)
		bus = -1;
	return syscall(SYS_close, file);
}

int ioctl(int file, unsigned long what, ...)
{
	va_list arguments;
	void *argument;

	va_start(arguments, what);
	argument = va_arg(arguments, void *);
	va_end(arguments);
	if (file < 0 || file != bus)
		return syscall(SYS_ioctl, file, what, argument);
	switch (what) {
	case I2C_FUNCS:
		*(unsigned long *)argument = I2C_FUNC_I2C;
		return 0;
	case I2C_SLAVE:
		address = (uintptr_t)argument;
		return 0;
	}
	errno = ENOTTY;
	return -1;
}

ssize_t read(int file, void *data, size_t length)
{
	if (file < 0 || file != bus)
		return syscall(SYS_read, file, data, length);
	return ask('r', length, NULL, data);
}

ssize_t write(int file, const void *data, size_t length)
{
	if (file < 0 || file != bus)
		return syscall(SYS_write, file, data, length);
	return ask('w', length, data, NULL);
}

int usleep(useconds_t duration)
{
	return ask('s', duration, NULL, NULL) < 0 ? -1 : 0;
}

time_t time(time_t *result)
{
	time_t now = ask('t', 0, NULL, NULL);

	if (result)
		*result = now;
	return now;
}
