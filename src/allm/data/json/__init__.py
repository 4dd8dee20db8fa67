"""JSON: parse and write text, serialize the library's values, and read providers' JSON leniently."""
