/* The registers this application uses, and no others. What differs between the chips is in chip.h.
 *
 * Addresses: RM0444 "Memory map and register boundary addresses". Offsets and bits: the register
 * descriptions of the RM0444 chapter named at each block; for the core, the Armv6-M Architecture
 * Reference Manual ("System timer, SysTick" and "System Control Block"). The STM32C031 has the same
 * registers and bits at the same addresses: stm32c031xx.h in ST's cmsis-device-c0.
 */
#ifndef REGISTERS_H
#define REGISTERS_H

#include <stdint.h>

#include "chip.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))

/* RM0444 "Embedded flash memory (FLASH)" */
#define FLASH_ACR REGISTER(0x40022000u)
#define FLASH_ACR_EMPTY (1u << 16) /* PROGEMPTY in ST's headers; kept through system resets */

/* RM0444 "Reset and clock control (RCC)" */
#define RCC_CR       REGISTER(0x40021000u)
#define RCC_CFGR     REGISTER(0x40021008u)
#define RCC_APBRSTR1 REGISTER(0x4002102Cu)
#define RCC_IOPENR   REGISTER(0x40021034u)
#define RCC_APBENR1  REGISTER(0x4002103Cu)
#define RCC_CCIPR    REGISTER(0x40021054u)
#define RCC_CR_HSION      (1u << 8)
#define RCC_CR_HSIRDY     (1u << 10)
#define RCC_CFGR_SWS      (7u << 3) /* 0: the system clock is HSISYS */
#define RCC_IOP_A         (1u << 0)
#define RCC_IOP_B         (1u << 1)
#define RCC_APB1_I2C1     (1u << 21) /* the same bit in APBENR1 and APBRSTR1 */
#define RCC_CCIPR_I2C1SEL (3u << 12) /* 0: PCLK */

/* RM0444 "General-purpose I/Os (GPIO)" */
#define GPIOA_MODER  REGISTER(0x50000000u)
#define GPIOA_BSRR   REGISTER(0x50000018u)
#define GPIOB_MODER  REGISTER(0x50000400u)
#define GPIOB_OTYPER REGISTER(0x50000404u)
#define GPIOB_AFRL   REGISTER(0x50000420u)
#define GPIO_MODE_OUTPUT    1u
#define GPIO_MODE_ALTERNATE 2u

/* RM0444 "Inter-integrated circuit interface (I2C)" */
#define I2C1_CR1     REGISTER(0x40005400u)
#define I2C1_OAR1    REGISTER(0x40005408u)
#define I2C1_TIMINGR REGISTER(0x40005410u)
#define I2C1_ISR     REGISTER(0x40005418u)
#define I2C1_ICR     REGISTER(0x4000541Cu)
#define I2C1_RXDR    REGISTER(0x40005424u)
#define I2C1_TXDR    REGISTER(0x40005428u)
#define I2C_CR1_PE     (1u << 0)
#define I2C_OAR1_OA1EN (1u << 15)
#define I2C_ISR_TXE    (1u << 0)
#define I2C_ISR_TXIS   (1u << 1)
#define I2C_ISR_RXNE   (1u << 2)
#define I2C_ISR_ADDR   (1u << 3)  /* ADDR to ARLO: the same bits clear the flags in ICR */
#define I2C_ISR_NACKF  (1u << 4)
#define I2C_ISR_STOPF  (1u << 5)
#define I2C_ISR_BERR   (1u << 8)
#define I2C_ISR_ARLO   (1u << 9)
#define I2C_ISR_DIR    (1u << 16)

/* Armv6-M: SysTick and the System Control Block */
#define SYST_CSR  REGISTER(0xE000E010u)
#define SYST_RVR  REGISTER(0xE000E014u)
#define SYST_CVR  REGISTER(0xE000E018u)
#define SCB_VTOR  REGISTER(0xE000ED08u)
#define SCB_AIRCR REGISTER(0xE000ED0Cu)
#define SYST_CSR_ENABLE    (1u << 0)
#define SYST_CSR_CLKSOURCE (1u << 2) /* the processor clock */
#define SYST_CSR_COUNTFLAG (1u << 16)
#define SCB_AIRCR_RESET    0x05FA0004u /* VECTKEY, SYSRESETREQ */

#endif
