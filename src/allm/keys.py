"""API keys: `override`, `put`, `load_dotenv`, `clear` (see `allm.http.keys`)."""

from allm.http.keys import (
    Secret as Secret,
    clear as clear,
    load_dotenv as load_dotenv,
    override as override,
    put as put,
)

__all__ = ["Secret", "clear", "load_dotenv", "override", "put"]
