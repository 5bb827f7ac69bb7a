#include "i2c_target.h"

#include "app_info.h"

enum {
    ADDRESS = 0x2A,
    FRAME_GIVEN_UP_MS = 1000, /* far beyond any controller's own patience */
    /* PB6 SCL, PB7 SDA: DS12232 "Port B alternate function mapping"; for the C031 CubeMX's data, as in
     * PeripheralPins.c of Arduino_Core_STM32 */
    ALTERNATE_FUNCTION_I2C1 = 6,
};

enum {
    REGISTER_IDENTITY = 0x00,
    REGISTER_VERSION = 0x01,
    REGISTER_UPTIME = 0x02,
    REGISTER_ENTER_LOADER = 0x10,
};

static const uint8_t ENTER_LOADER[] = {REGISTER_ENTER_LOADER, 'B', 'O', 'O', 'T'};

static uint8_t selected;       /* register the next read is about */
static uint32_t received;      /* bytes of this frame, saturating */
static uint32_t order_matched; /* leading bytes of this frame that are the order to enter the loader */
static const uint8_t *reply;
static uint32_t reply_left;
static uint32_t uptime_sent; /* a copy, so that the four bytes of one answer belong together */
static bool in_frame;
static uint32_t silent_ms;

void i2c_start(void)
{
    RCC_IOPENR |= RCC_IOP_B;
    RCC_APBENR1 |= RCC_APB1_I2C1;
    RCC_CCIPR &= ~RCC_CCIPR_I2C1SEL;
    RCC_APBRSTR1 |= RCC_APB1_I2C1; /* releases both lines, whatever state it was in */
    RCC_APBRSTR1 &= ~RCC_APB1_I2C1;
    I2C1_TIMINGR = I2C_TIMINGR_400KHZ;
    I2C1_OAR1 = I2C_OAR1_OA1EN | ADDRESS << 1;
    I2C1_CR1 = I2C_CR1_PE;

    GPIOB_OTYPER |= 1u << 6 | 1u << 7; /* open drain first, so that no pin ever drives high */
    GPIOB_AFRL = (GPIOB_AFRL & ~(0xFFu << 24))
        | (uint32_t)ALTERNATE_FUNCTION_I2C1 << 24 | (uint32_t)ALTERNATE_FUNCTION_I2C1 << 28;
    GPIOB_MODER = (GPIOB_MODER & ~(0xFu << 12)) | GPIO_MODE_ALTERNATE << 12 | GPIO_MODE_ALTERNATE << 14;
    in_frame = false;
}

static void prepare_reply(uint32_t uptime_ms)
{
    switch (selected) {
    case REGISTER_IDENTITY:
        reply = app_info.identity;
        reply_left = sizeof app_info.identity;
        break;
    case REGISTER_VERSION:
        reply = (const uint8_t *)&app_info.version;
        reply_left = sizeof app_info.version;
        break;
    case REGISTER_UPTIME:
        uptime_sent = uptime_ms;
        reply = (const uint8_t *)&uptime_sent;
        reply_left = sizeof uptime_sent;
        break;
    default:
        reply_left = 0;
    }
}

static void take(uint8_t byte)
{
    if (received == 0) {
        selected = byte;
    }
    if (order_matched == received && received < sizeof ENTER_LOADER && byte == ENTER_LOADER[received]) {
        order_matched++;
    }
    if (received <= sizeof ENTER_LOADER) {
        received++;
    }
}

static void begin_frame(void)
{
    in_frame = true;
    received = 0;
    order_matched = 0;
}

bool i2c_serve(uint32_t uptime_ms)
{
    const uint32_t happened = I2C1_ISR;
    bool enter_loader = false;

    silent_ms = 0;
    /* In the order in which they can have happened: SCL is held from ADDR on, so bytes, NACK and STOP
     * seen together with it belong to the frame before. */
    if (happened & (I2C_ISR_BERR | I2C_ISR_ARLO)) {
        /* The peripheral has let go of the bus and listens again by itself (RM0444 "Error conditions").
         * Resetting it would lose the frame that the misplaced START has begun. What came so far is
         * forgotten. */
        I2C1_ICR = I2C_ISR_BERR | I2C_ISR_ARLO;
        begin_frame();
    }
    if (happened & I2C_ISR_RXNE) {
        take((uint8_t)I2C1_RXDR);
    }
    if (happened & I2C_ISR_NACKF) {
        I2C1_ICR = I2C_ISR_NACKF;
    }
    if (happened & I2C_ISR_STOPF) {
        I2C1_ICR = I2C_ISR_STOPF;
        enter_loader = received == sizeof ENTER_LOADER && order_matched == sizeof ENTER_LOADER;
        in_frame = false;
    }
    if (happened & I2C_ISR_ADDR) {
        begin_frame();
        if (happened & I2C_ISR_DIR) {
            prepare_reply(uptime_ms);
            I2C1_ISR = I2C_ISR_TXE; /* flushes the byte that was loaded ahead of the last NACK */
        }
        I2C1_ICR = I2C_ISR_ADDR;
    } else if (happened & I2C_ISR_TXIS) {
        if (reply_left) {
            reply_left--;
            I2C1_TXDR = *reply++;
        } else {
            I2C1_TXDR = 0xFF;
        }
    }
    return enter_loader;
}

void i2c_tick(void)
{
    if (in_frame && ++silent_ms >= FRAME_GIVEN_UP_MS) {
        silent_ms = 0;
        i2c_start();
    }
}
