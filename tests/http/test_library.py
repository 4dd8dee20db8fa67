"""Which HTTP library is imported, and what comes with it."""

from __future__ import annotations

import subprocess
import sys


def test_the_library_comes_without_its_command():
    """The command of httpx needs rich, pygments and click, which it imports where they are installed; calls do not."""
    program = (
        "import sys; from allm.http.library import library; found = library(); "
        "loaded = {name.partition('.')[0] for name in sys.modules}; "
        "assert not loaded & {'rich', 'pygments', 'click'}, loaded; "
        "assert f'{found.__name__}._main' not in sys.modules; "
        "sys.argv = ['httpx', '--help']; found.__name__ == 'httpx' and found.main()"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stderr
    assert not result.stderr


def test_a_library_that_the_program_has_imported_stays_as_it_is():
    """It is the program's own: nothing of it is replaced."""
    program = (
        "import importlib.util, sys; name = 'httpx2' if importlib.util.find_spec('httpx2') else 'httpx'; "
        "own = __import__(name); before = dict(vars(own)); from allm.http.library import library; "
        "assert library() is own; assert vars(own) == before"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
