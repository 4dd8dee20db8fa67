"""Search for bytes that make a decoder fail in a way of its own: `python fuzz_decoders.py [arguments of libFuzzer]`.

Run by `nox -s fuzz`. Atheris changes the answers of `test_cuts.py` at the byte, guided by the branches that they reach,
without end or for `-max_total_time=SECONDS`. The first byte of an input says which decoder gets the rest.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

with atheris.instrument_imports(include=["allm.http.sse", "allm.providers", "allm.http.decoder", "allm.data.json"]):
    import allm
    from allm.testing import Reply
    from calls import TEXT, TOOLS
    from test_cuts import answered
    from test_growth import DECODERS

VENDORS = sorted(DECODERS)


def decode(data):
    """Any answer is a response that goes to JSON and back, with or without an error."""
    if data:
        response = answered(VENDORS[data[0] % len(VENDORS)], [data[1:]])
        assert allm.from_json(allm.to_json(response)) == response


def main():
    with tempfile.TemporaryDirectory() as folder:
        for number, vendor in enumerate(VENDORS):
            for name, script in {"text": TEXT, "tools": TOOLS}.items():
                Path(folder, f"{vendor}-{name}").write_bytes(bytes([number]) + Reply.script(vendor, script).body)
        atheris.Setup([*sys.argv, folder], decode)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
