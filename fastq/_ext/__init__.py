"""The compiled ground: built from ext/*.pyx, one .pyi here for each. Nothing else lives here."""

import os
from importlib.machinery import EXTENSION_SUFFIXES

_here = os.path.dirname(__file__)
_names = os.listdir(_here)
# Told here once: without this, the first import of an unbuilt part ends in "cannot import name" deep inside fastq.
_missing = [
    stub for stub in sorted(_names)
    if stub.endswith(".pyi") and stub.removesuffix(".pyi") + EXTENSION_SUFFIXES[0] not in _names
]
if _missing:
    raise ImportError(
        f"fastq's compiled modules are not built for this Python: {_here} has {', '.join(_missing)} but no "
        f"*{EXTENSION_SUFFIXES[0]} for them. In a checkout run 'make build', elsewhere "
        "'pip install --force-reinstall --no-cache-dir fastq'.",
        name=__name__,
    )
