"""Builds the native request path: every `native/**/*.pyx` becomes an extension module of the same name.

Environment:
    GATEWAY_BUILD_ONLY   comma-separated module names ("http1,router"): build only these
    GATEWAY_SANITIZE=1   build with AddressSanitizer and UBSan (see `make asan`)
    GATEWAY_MARCH        -march value; the default runs on every machine of the architecture
    GATEWAY_BUILD_JOBS   compilers at the same time; default: one per processor
"""

import os
import platform
import re
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

JOBS = int(os.environ.get("GATEWAY_BUILD_JOBS", os.cpu_count() or 1))
SANITIZE = os.environ.get("GATEWAY_SANITIZE") == "1"
ONLY = {name for name in os.environ.get("GATEWAY_BUILD_ONLY", "").split(",") if name}

# The name in Server and Via: Kong's, at the version whose behaviour is spoken.
KONG_VERSION = re.findall(r'KONG_VERSION = "(.+?)"', Path("gateway/__init__.py").read_text())[0]

compile_flags = ["-O3", "-g", "-fno-strict-aliasing", "-fvisibility=hidden", "-Wno-unused-function"]
# Bytes from the internet meet C here: what the compiler can do against a mistake is worth its percent.
compile_flags += ["-fstack-protector-strong", "-fstack-clash-protection"]
compile_flags += ["-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"]
if platform.machine() == "x86_64":
    compile_flags.append("-fcf-protection")
link_flags = ["-Wl,-z,relro,-z,now"]
if march := os.environ.get("GATEWAY_MARCH"):
    compile_flags.append(f"-march={march}")
if SANITIZE:
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    compile_flags = ["-O1", "-g", "-fno-omit-frame-pointer", "-fno-strict-aliasing", *sanitizers]
    link_flags = sanitizers


class ParallelBuild(build_ext):
    """Compiles several modules at a time, also where no option can be given (pip)."""

    def finalize_options(self) -> None:
        super().finalize_options()
        if self.parallel is None:
            self.parallel = JOBS


def extensions() -> list[Extension]:
    found = []
    for source in sorted(Path("native").rglob("*.pyx")):
        module = ".".join(source.with_suffix("").parts)
        if ONLY and module.split(".", 1)[1] not in ONLY:
            continue
        found.append(
            Extension(
                module,
                [str(source)],
                extra_compile_args=compile_flags,
                extra_link_args=link_flags,
                libraries=["dl"],
                define_macros=[
                    ("_GNU_SOURCE", "1"),
                    ("GATEWAY_SANITIZED", "1" if SANITIZE else "0"),
                    ("PRODUCT", f'"kong/{KONG_VERSION}"'),
                ],
            )
        )
    return found


setup(
    cmdclass={"build_ext": ParallelBuild},
    ext_modules=cythonize(
        extensions(),
        build_dir="build/cython-sanitized" if SANITIZE else "build/cython",
        nthreads=JOBS,
        compiler_directives={
            "language_level": "3",
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
            "nonecheck": False,
            "embedsignature": True,
        },
    ),
)
