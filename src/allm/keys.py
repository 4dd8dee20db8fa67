"""API keys: `override`, `put`, `load_dotenv`, `clear` (see `allm.runtime.keys`)."""

from allm.runtime.keys import Secret as Secret
from allm.runtime.keys import clear as clear
from allm.runtime.keys import load_dotenv as load_dotenv
from allm.runtime.keys import override as override
from allm.runtime.keys import put as put

__all__ = ["Secret", "clear", "load_dotenv", "override", "put"]
