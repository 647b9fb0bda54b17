"""The list of extensions and their flags, nothing else; all metadata is in pyproject.toml.

FASTQ_DEBUG=1 builds with checks and line tracing, FASTQ_SANITIZE=1 with ASAN and UBSAN. Each kind keeps its
C files apart: Cython looks at dates, not at flags, and would hand the checks of one build to the next.
"""

import os
from glob import glob

from Cython.Build import cythonize
from setuptools import Extension, setup

DEBUG, SANITIZE = (os.environ.get(name) == "1" for name in ("FASTQ_DEBUG", "FASTQ_SANITIZE"))
KIND = "debug" if DEBUG else "asan" if SANITIZE else "release"
CFLAGS = ["-O0", "-g"] if DEBUG else ["-O1", "-g", "-fno-omit-frame-pointer"] if SANITIZE else ["-O3", "-g0"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"] if SANITIZE else []
MACROS = [("FASTQ_DEBUG", "1"), ("CYTHON_TRACE", "1")] if DEBUG else []
HEADERS = sorted(glob("ext/*.pxd") + glob("ext/*.h"))


def extension(path: str) -> Extension:
    name = os.path.splitext(os.path.basename(path))[0]
    return Extension(
        f"fastq._ext.{name}", [path], include_dirs=["ext"], depends=HEADERS, define_macros=MACROS,
        extra_compile_args=[*CFLAGS, *SANITIZERS], extra_link_args=SANITIZERS,
    )


setup(
    ext_modules=cythonize(
        [extension(path) for path in sorted(glob("ext/*.pyx"))],
        build_dir=f"build/c/{KIND}", include_path=["ext"], annotate=DEBUG, force=DEBUG or SANITIZE,
        compiler_directives={
            "language_level": 3, "freethreading_compatible": True, "wraparound": False,
            "boundscheck": DEBUG, "linetrace": DEBUG, "profile": DEBUG, "cdivision": True,
        },
    ),
    options={"build_ext": {"parallel": True}},
)
