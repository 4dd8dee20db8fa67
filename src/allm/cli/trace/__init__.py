"""`allm trace`: a recording of telemetry as one page. `spans` reads it, `totals` counts, `page` writes the page."""
