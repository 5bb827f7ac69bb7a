/* What the application must know of the STM32C031. */
#ifndef CHIP_H
#define CHIP_H

#define CHIP_IDENTITY {'C', '0', '3', '1'}
#define CORE_HZ 12000000u /* HSI48 / 4, of the core and of I2C1: what runs after a reset */
/* HSI48 on and ready; HSIDIV 4; HSIKERDIV 3; RCC_CR_RESET in NuttX's stm32c0_rcc.h */
#define RCC_CR_RESET 0x00001540u

/* PRESC 0, SCLDEL 5 (500 ns), SDADEL 3 (250 ns) at 12 MHz: the same times as on the G071. A target
 * uses no others. */
#define I2C_TIMINGR_400KHZ 0x00530000u

#endif
