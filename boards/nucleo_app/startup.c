/* From reset to main: vector table, .data and .bss. Any exception ends in a reset, since this
 * application enables no interrupt and a product in the field has nobody to look at a hung core. */
#include "registers.h"

extern uint32_t stack_top[], data_load[], data_start[], data_end[], bss_start[], bss_end[], vectors[];

int main(void);

_Noreturn static void restart(void)
{
    SCB_AIRCR = SCB_AIRCR_RESET;
    for (;;) { /* the reset takes a few cycles to arrive */
    }
}

_Noreturn void reset_handler(void)
{
    SCB_VTOR = (uint32_t)vectors; /* the loader's Go command may leave another table mapped at 0 */
    const uint32_t *from = data_load;
    for (uint32_t *to = data_start; to < data_end;) {
        *to++ = *from++;
    }
    for (uint32_t *to = bss_start; to < bss_end;) {
        *to++ = 0;
    }
    main();
    restart();
}

/* RM0444 "Interrupt and exception vectors", RM0490: 16 of the core, 32 of the chip. */
typedef void (*vector)(void);
__attribute__((section(".vectors"), used)) const vector vector_table[48] = {
    (vector)stack_top,
    reset_handler,
    [2 ... 47] = restart,
};
