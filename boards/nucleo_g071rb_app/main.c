/* Blinks LD4 at 2 Hz and answers on I2C. Polled: no interrupt is ever enabled. */
#include "app_info.h"
#include "i2c_target.h"
#include "stm32g071.h"

enum {
    CORE_HZ = 16000000, /* HSI16 */
    BLINK_HALF_PERIOD_MS = 250,
    LED_PIN = 5, /* UM2324 "LEDs": LD4 is on PA5 */
    CLOCK_PATIENCE = 10000, /* loops; HSI16 is ready within microseconds, or never */
};

__attribute__((section(".app_info"), used)) const struct app_info app_info = {
    {'G', '0', '7', '1'},
    {APP_MAJOR, APP_MINOR, APP_REVISION, APP_BUILD},
};

static uint32_t uptime_ms;
static uint32_t blink_ms;
static bool led_on;

/* After a reset HSI16 runs already. After the loader's Go command it may be something else. */
static void run_from_hsi16(void)
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

/* Leave the chip as a reset would, then start ST's loader. */
_Noreturn static void enter_loader(void)
{
    SYST_CSR = 0;
    SYST_RVR = 0;
    SYST_CVR = 0;
    RCC_APBRSTR1 |= RCC_APB1_I2C1;
    RCC_APBRSTR1 &= ~RCC_APB1_I2C1;
    RCC_IOPRSTR |= RCC_IOP_A | RCC_IOP_B;
    RCC_IOPRSTR &= ~(RCC_IOP_A | RCC_IOP_B);
    RCC_APBENR2 |= RCC_APBENR2_SYSCFGEN;
    (void)RCC_APBENR2; /* RM0444 "Clock-gating": a peripheral listens two cycles after its enable bit */
    SYSCFG_CFGR1 = (SYSCFG_CFGR1 & ~SYSCFG_MEM_MODE) | SYSCFG_MEM_MODE_SYSTEM_MEMORY;
    RCC_APBENR2 &= ~RCC_APBENR2_SYSCFGEN;
    RCC_APBENR1 &= ~RCC_APB1_I2C1;
    RCC_IOPENR &= ~(RCC_IOP_A | RCC_IOP_B);
    SCB_VTOR = 0;

    const uint32_t stack = REGISTER(SYSTEM_MEMORY);
    const uint32_t entry = REGISTER(SYSTEM_MEMORY + 4);
    __asm volatile("dsb\n\t"
                   "isb\n\t"
                   "msr msp, %0\n\t"
                   "bx %1"
                   :
                   : "r"(stack), "r"(entry)
                   : "memory");
    __builtin_unreachable();
}

int main(void)
{
    run_from_hsi16();
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
