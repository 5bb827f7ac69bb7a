"""The host MCU over mpremote. A `session` connects through `transport` to a real board (`ports`)
or a simulated one (`simulation`). `deploy`, `push`, `calls` (the updater), `bench_calls`,
`target_flash`, `logs` and `host_clock` use that connection, and `devices` makes one to each board.
`cycles` disturbs updates, `bench_run` does that for hours, with the two images of `pair`.
`production` makes units, and `inventory` keeps the list of them. `host_facts` describes the host,
`paths` has the paths of its files, `ram` runs code there without installing it, and `bus_trace`
records the bus. `log_files`, `log_runs` and `log_filters` are for logs that were pulled.
"""

AUTO = "auto"  # `transport.connected` finds the port
