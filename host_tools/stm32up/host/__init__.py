"""The host MCU over mpremote. A `session` connects by way of `transport`, to a real board
(`ports`) or a simulated one (`simulation`). Over that connection run `deploy`, `push`, `calls`
(the updater), `bench_calls`, and `logs`. `host_facts` tells what the host is, `paths` where its
files are, and `ram` runs code there without installing it.
"""

AUTO = "auto"  # the port that `transport.connected` finds by itself
