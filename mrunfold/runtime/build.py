"""Builds the C++ program with the LibTorch that PyTorch's package holds."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from mrunfold.errors import InputError

__all__ = ["SOURCE", "build"]

SOURCE = Path(__file__).parent
PROGRAM = "mrunfold_recon"


def build(folder: Path) -> Path:
    """Build mrunfold_recon in `folder`, again only where sources changed, and return the program.

    With CMake where there is one, with g++ alone otherwise; one job.  Raises InputError without a g++ and
    where the build fails, with the compiler's words in `folder`/build.log.
    """
    if shutil.which("g++") is None:
        raise InputError("no g++ here to build mrunfold_recon with; install g++ (Debian: apt install g++)")
    folder.mkdir(parents=True, exist_ok=True)
    cmake = shutil.which("cmake") or shutil.which("cmake", path=str(Path(sys.executable).parent))
    commands = _with_cmake(cmake, folder) if cmake else _with_compiler(folder)
    with (folder / "build.log").open("w", encoding="utf-8") as log:
        for command in commands:
            if subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode:
                raise InputError(f"cannot build mrunfold_recon; {log.name} says why")
    return folder / PROGRAM


def _torch() -> tuple[Path, int]:
    """Return the folder with LibTorch's include/ and lib/, and its std::string ABI, 0 or 1."""
    import torch

    return Path(torch.__file__).parent, int(torch.compiled_with_cxx11_abi())


def _with_cmake(cmake: str, folder: Path) -> list[list[str]]:
    torch, abi = _torch()
    options = [f"-DLIBTORCH={torch}", f"-DLIBTORCH_CXX11_ABI={abi}", "-DCMAKE_BUILD_TYPE=Release"]
    return [
        [cmake, "-S", str(SOURCE), "-B", str(folder), "-DCMAKE_CXX_COMPILER=g++", *options],
        [cmake, "--build", str(folder), "--parallel", "1"],
    ]


def _with_compiler(folder: Path) -> list[list[str]]:
    torch, abi = _torch()
    sources = [str(path) for path in sorted(SOURCE.glob("*.cpp"))]
    headers = torch / "include"
    include = [f"-isystem{headers}", f"-isystem{headers / 'torch' / 'csrc' / 'api' / 'include'}"]
    link = [f"-L{torch / 'lib'}", f"-Wl,-rpath,{torch / 'lib'}", "-ltorch_cpu", "-lc10"]
    flags = ["-std=c++20", "-O2", "-Wall", "-Wextra", f"-D_GLIBCXX_USE_CXX11_ABI={abi}"]
    return [["g++", *flags, *include, *sources, "-o", str(folder / PROGRAM), *link]]
