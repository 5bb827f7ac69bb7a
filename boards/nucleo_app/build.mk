# The sources of this folder, for the chip of the folder that includes this file, as several versions:
# app-MAJOR.MINOR.REVISION.hex. Needs gcc-arm-none-eabi.
APP := ../nucleo_app
CC = arm-none-eabi-gcc
OBJCOPY = arm-none-eabi-objcopy
CFLAGS = -std=c11 -Os -mcpu=cortex-m0plus -mthumb -ffreestanding -fno-tree-loop-distribute-patterns \
	-Wall -Wextra -Werror -I. -I$(APP)
LDFLAGS = -nostdlib -L. -T $(APP)/sections.ld -Wl,--build-id=none -Wl,--fatal-warnings
SOURCES = $(addprefix $(APP)/,startup.c main.c i2c_target.c)
INPUTS = $(SOURCES) $(addprefix $(APP)/,app_info.h i2c_target.h registers.h sections.ld build.mk) chip.h memory.ld

part = $(word $(1),$(subst ., ,$(2)))

all: $(VERSIONS:%=app-%.hex)

app-%.hex: app-%.elf
	$(OBJCOPY) -O ihex $< $@

app-%.elf: $(INPUTS)
	$(CC) $(CFLAGS) -DAPP_MAJOR=$(call part,1,$*) -DAPP_MINOR=$(call part,2,$*) \
		-DAPP_REVISION=$(call part,3,$*) -DAPP_BUILD=0 $(SOURCES) $(LDFLAGS) -o $@

clean:
	rm -f app-*.elf app-*.hex

.PHONY: all clean
.INTERMEDIATE: $(VERSIONS:%=app-%.elf)
