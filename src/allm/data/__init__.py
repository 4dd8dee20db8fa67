"""Layer A, data: frozen values, events, errors, validation, JSON. No I/O, no Trio."""
