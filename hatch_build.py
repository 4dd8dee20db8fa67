"""Where this is published goes into the metadata when the package is built: the address in ALLM_PROJECT_URL, if any."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class AddressHook(MetadataHookInterface):
    """The links of the README lead to files beside it; on the page of an index they need an address."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Fill in the fields that pyproject.toml declares as dynamic."""
        text = Path(self.root, "README.md").read_text("utf-8")
        if address := os.environ.get("ALLM_PROJECT_URL", "").rstrip("/"):
            files = f"{address}/blob/HEAD"  # what GitHub and GitLab call the files of the main branch
            text = re.sub(r"\]\((?!https?:|#)", f"]({files}/", text)
            pages = {"Documentation": f"{files}/docs/index.md", "Changelog": f"{files}/CHANGELOG.md"}
            metadata["urls"] = {"Source": address, **pages}
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
