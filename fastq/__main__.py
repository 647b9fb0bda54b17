"""``python -m fastq`` is the command line."""

import sys

from fastq.cli.main import main

sys.exit(main())
