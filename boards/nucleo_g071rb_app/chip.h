/* What the application must know of the STM32G071. */
#ifndef CHIP_H
#define CHIP_H

#define CHIP_IDENTITY {'G', '0', '7', '1'}
#define CORE_HZ 16000000u /* HSI16, of the core and of I2C1 */
#define RCC_CR_RESET 0x00000500u /* HSI16 on and ready, not divided, nothing else; RM0444 */

/* RM0444 "Examples of timing settings for fI2CCLK = 16 MHz", the column for 400 kHz. A target uses
 * only PRESC, SCLDEL (500 ns) and SDADEL (250 ns) of it; they also suit slower controllers. */
#define I2C_TIMINGR_400KHZ 0x10320309u

#endif
