/* What the application says about itself. It lies right behind the vector table, at 0x080000C0. */
#ifndef APP_INFO_H
#define APP_INFO_H

#include <stdint.h>

struct app_info {
    uint8_t identity[4];
    struct { /* MCUboot's struct image_version, little endian */
        uint8_t major;
        uint8_t minor;
        uint16_t revision;
        uint32_t build;
    } version;
};

extern const struct app_info app_info;

#endif
