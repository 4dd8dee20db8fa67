"""Layer B, runtime: engine, adapter protocols, providers by name, options, models, costs, retries, telemetry, tools."""
