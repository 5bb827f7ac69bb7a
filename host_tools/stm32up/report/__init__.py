"""Reports for people, and pictures. Others import `page` (a self-contained HTML file of figures,
tables and timelines), `log_report` (the page of pulled logs), `figures` and `bench_page` (of a run
of bench), `bus_file` (the transactions on the bus, for a logic analyser), `forum` (the forum case
with its figures, and its timeline as a picture), `power_cuts` (of torture), and `wiring` (how a
board is wired), which `wiring_picture` draws with the pin headers in `headers`.
"""
