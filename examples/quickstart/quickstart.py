"""The smallest app. Its module has the app's name, so that ``python quickstart.py`` and the worker agree on task names.

    fastq -A quickstart worker
    python quickstart.py
"""

from fastq import Fastq

app = Fastq("quickstart")


@app.task
def add(x: int, y: int) -> int:
    return x + y


if __name__ == "__main__":
    print(add.delay(2, 3).get(timeout=10))
