/* Blinks LD4 at 2 Hz and answers on I2C. Polled: no interrupt is ever enabled. */
#include "app_info.h"
#include "i2c_target.h"
#include "registers.h"

enum {
    BLINK_HALF_PERIOD_MS = 250,
    LED_PIN = 5, /* LD4 is on PA5, on both boards: UM2324 "LEDs"; Zephyr's nucleo_c031c6.dts */
    CLOCK_PATIENCE = 10000, /* loops; HSI is ready within microseconds, or never */
};

__attribute__((section(".app_info"), used)) const struct app_info app_info = {
    CHIP_IDENTITY,
    {APP_MAJOR, APP_MINOR, APP_REVISION, APP_BUILD},
};

static uint32_t uptime_ms;
static uint32_t blink_ms;
static bool led_on;

/* After a reset HSI runs already. After the loader's Go command it may be something else. */
static void run_from_hsi(void)
{
    RCC_CR |= RCC_CR_HSION;
    for (uint32_t left = CLOCK_PATIENCE; left && !(RCC_CR & RCC_CR_HSIRDY); left--) {
    }
    RCC_CFGR = 0;
    for (uint32_t left = CLOCK_PATIENCE; left && (RCC_CFGR & RCC_CFGR_SWS); left--) {
    }
    RCC_CR = RCC_CR_RESET;
}

static void start_led(void)
{
    RCC_IOPENR |= RCC_IOP_A;
    (void)RCC_IOPENR; /* the clock takes a moment, and what follows would make PA13 no SWDIO */
    GPIOA_MODER = (GPIOA_MODER & ~(3u << 2 * LED_PIN)) | GPIO_MODE_OUTPUT << 2 * LED_PIN;
}

static void start_tick(void)
{
    SYST_RVR = CORE_HZ / 1000 - 1;
    SYST_CVR = 0;
    SYST_CSR = SYST_CSR_CLKSOURCE | SYST_CSR_ENABLE;
}

static void tick(void)
{
    uptime_ms++;
    if (++blink_ms >= BLINK_HALF_PERIOD_MS) {
        blink_ms = 0;
        led_on = !led_on;
        GPIOA_BSRR = led_on ? 1u << LED_PIN : 1u << (LED_PIN + 16);
    }
    i2c_tick();
}

/* Declare the flash empty and reset: the boot logic then starts ST's loader, now and after every
 * other system reset, whatever is in flash by then. The reset puts back all else that was used. */
_Noreturn static void enter_loader(void)
{
    FLASH_ACR |= FLASH_ACR_EMPTY;
    (void)FLASH_ACR; /* the write has arrived before the reset is requested */
    SCB_AIRCR = SCB_AIRCR_RESET;
    for (;;) { /* the reset takes a few cycles to arrive */
    }
}

int main(void)
{
    FLASH_ACR &= ~FLASH_ACR_EMPTY; /* from now on a system reset leads to this application again */
    run_from_hsi();
    start_led();
    start_tick();
    i2c_start();
    for (;;) {
        if (SYST_CSR & SYST_CSR_COUNTFLAG) {
            tick();
        }
        if (i2c_has_news() && i2c_serve(uptime_ms)) {
            enter_loader();
        }
    }
}
