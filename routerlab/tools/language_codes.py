"""Languages as Whisper names them: codes and English names."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from routerlab.errors import UserError, unknown


def language_names() -> dict[str, str]:
    """Whisper's languages: code -> English name, as "en" -> "english"."""
    module = importlib.import_module("transformers.models.whisper.tokenization_whisper")
    names: dict[str, str] = module.LANGUAGES
    return names


def language_code(given: str, known: Sequence[str]) -> str:
    """The code of a language given as its code or its English name.

    Raises:
        UserError: the checkpoint does not know it.
    """
    names = language_names()
    code = {name: code for code, name in names.items()}.get(given.lower(), given.lower())
    if code in known:
        return code
    allowed = ["auto", *(known if len(given) < 4 else map(names.__getitem__, known))]
    raise UserError(unknown("tools: this model knows no language", given, allowed))
