"""HTTP: connections, server-sent events, calls, and errors. The only package that knows the HTTP library."""
