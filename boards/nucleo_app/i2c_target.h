/* The I2C side of the application: a few registers to read, and one order to obey. */
#ifndef I2C_TARGET_H
#define I2C_TARGET_H

#include <stdbool.h>
#include <stdint.h>

#include "registers.h"

void i2c_start(void);

/* Whether there is anything to serve. */
static inline bool i2c_has_news(void)
{
    return I2C1_ISR & (I2C_ISR_TXIS | I2C_ISR_RXNE | I2C_ISR_ADDR | I2C_ISR_NACKF | I2C_ISR_STOPF
                       | I2C_ISR_BERR | I2C_ISR_ARLO);
}

/* Serve what happened on the bus since the last call; true when a complete order to enter the
 * loader has arrived. Never waits. */
bool i2c_serve(uint32_t uptime_ms);

/* To be called every millisecond: gives up a frame that the controller left unfinished. */
void i2c_tick(void);

#endif
