"""API keys: `override`, `put`, `load_dotenv`, `clear` (see `allm.http.keys`); tokens of clouds: `google`, `entra`."""

from allm.http.cloud_keys import entra as entra, google as google
from allm.http.keys import (
    AccessToken as AccessToken,
    Secret as Secret,
    clear as clear,
    load_dotenv as load_dotenv,
    override as override,
    put as put,
)

__all__ = ["AccessToken", "Secret", "clear", "entra", "google", "load_dotenv", "override", "put"]
