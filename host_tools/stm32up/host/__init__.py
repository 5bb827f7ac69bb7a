"""The host MCU over mpremote: connecting, deploying, pushing, calling the updater, its logs."""

AUTO = "auto"  # the port that `transport.connected` finds by itself
