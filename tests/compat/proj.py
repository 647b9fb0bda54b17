"""What a worker loads: `-A tests.compat.proj`. The environment says which side it is, and where its broker."""

from __future__ import annotations

import json
import os
from importlib import import_module

from tests.compat.sides import SIDES
from tests.compat.tasks import furnish

app = SIDES[os.environ["COMPAT_SIDE"]].app(os.environ["COMPAT_URL"], **json.loads(os.environ["COMPAT_SETTINGS"]))
furnish(app)

if os.environ["COMPAT_SIDE"] == "celery":
    # Celery's loop at times sleeps on work that it has put off, an acknowledgement say, until a timer wakes it: 30 s.
    signals = import_module("celery.signals")
    signals.worker_ready.connect(lambda sender, **_: sender.timer.call_repeatedly(0.01, lambda: None), weak=False)
