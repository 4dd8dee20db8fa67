"""Layer B, runtime: engine, ports, keys, retries, telemetry, HTTP, server-sent events."""
