"""`python -m fastq.bench`: the same as `fastq bench`."""

from __future__ import annotations

import sys

from fastq.bench.run import main

sys.exit(main())
