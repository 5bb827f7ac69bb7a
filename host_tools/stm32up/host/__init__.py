"""The host MCU over mpremote: connecting, deploying, pushing, calling the updater, its logs."""
