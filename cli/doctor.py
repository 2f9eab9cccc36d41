"""`mrunfold doctor`: what is installed, what it can do, what is missing and what to do about it."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["doctor"]

# Distribution, the module whose import shows that it works.
REQUIRED = (
    ("torch", "torch"),
    ("numpy", "numpy"),
    ("scipy", "scipy"),
    ("h5py", "h5py"),
    ("numba", "numba"),
    ("sigpy", "sigpy"),
    ("ismrmrd", "ismrmrd"),
    ("nibabel", "nibabel"),
    ("pillow", "PIL.Image"),
    ("scikit-image", "skimage.metrics"),
    ("matplotlib", "matplotlib.figure"),
    ("safetensors", "safetensors"),
    ("pydantic", "pydantic"),
)
# The same of what only some commands need, with what for; mrunfold.extras names the extra of each.
OPTIONAL = (
    ("nilearn", "nilearn", "mrunfold sample"),
    ("pydicom", "pydicom", "DICOM"),
    ("highdicom", "highdicom", "DICOM"),
    ("pynetdicom", "pynetdicom", "push --to"),
    ("lightning", "lightning", "mrunfold train"),
    ("distributed", "distributed", "batch --workers"),
    ("lpips", "lpips", "LPIPS"),
    ("deepinv", "deepinv", "a rival of mrunfold bench restore"),
)
TOOLS = (
    ("bart", "compare with BART", "Debian and Ubuntu: apt install bart"),
    ("ismrmrd_recon_cartesian_2d", "compare with ISMRMRD's own reconstruction", "apt install ismrmrd-tools"),
    ("dciodvfy", "validate DICOM", "apt install dicom3tools"),
    ("dcm2niix", "convert DICOM to NIfTI", "apt install dcm2niix"),
)


def plug_ins() -> list[tuple[str, str]]:
    """Return kind and names of the parts that other packages bring; nothing of them is imported."""
    from importlib.metadata import entry_points

    rows = []
    for kind in ("methods", "masks", "readers", "priors", "exporters"):
        names = sorted(point.name for point in entry_points(group=f"mrunfold.{kind}"))
        rows += [(kind, ", ".join(names))] if names else []
    return rows


def doctor() -> None:
    """Say what is installed, what is missing, and what to do."""
    from mrunfold.cli.console import note, print_table
    from mrunfold.export.record import platform_facts, versions

    facts = platform_facts()
    system = f"{facts['system']} {facts['release']} {facts['machine']}"
    own = versions(["mrunfold"])["mrunfold"] or "not installed"
    print_table([("mrunfold", own), ("python", facts["python"]), ("system", system)])
    advice: list[str] = []
    print_table(_packages(advice), title="packages")
    print_table(_devices(advice), title="devices")
    print_table(_tools(), title="other programs, all optional")
    if brought := plug_ins():
        print_table(brought, title="brought by other packages")
    if advice:
        note("to do")
        for line in advice:
            note(f"  - {line}")
    else:
        note("everything that mrunfold needs is there")


def _packages(advice: list[str]) -> list[tuple[str, str]]:
    from mrunfold.export.record import versions
    from mrunfold.extras import EXTRAS

    rows = []
    for name, module in REQUIRED:
        version, problem = versions([name])[name], _import_problem(module)
        rows.append((name, version if not problem and version else f"{version or 'missing'}: {problem}"))
        if problem:
            advice.append(f"{name} cannot be imported ({problem}): pip install --force-reinstall {name}")
    for name, module, purpose in OPTIONAL:
        version = versions([name])[name]
        problem = _import_problem(module) if version else None
        remedy = f"pip install 'mrunfold[{EXTRAS[module]}]'"
        missing = f"missing, only for {purpose}: {remedy}"
        rows.append((name, missing if version is None else problem or version))
        if problem:
            advice.append(f"{name} cannot be imported ({problem}): {remedy} --force-reinstall")
    return rows


def _import_problem(module: str) -> str | None:
    """Return why `module` cannot be imported, None if it can.

    A package broken by its neighbours (a cupy without its driver, a torchvision of another torch) raises
    anything at all, and to name it is what this command is for.
    """
    import importlib

    try:
        importlib.import_module(module)
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
    return None


def _devices(advice: list[str]) -> list[tuple[str, str]]:
    try:
        import torch
    except Exception as error:  # as in _import_problem; the advice is given there
        return [("cpu", f"unknown, torch is broken: {type(error).__name__}")]
    rows = [("cpu", f"{torch.get_num_threads()} threads, bfloat16 {_used()}, {_bfloat16(_cpu_seconds)}")]
    if torch.cuda.is_available():
        from mrunfold.networks.precision import has_bfloat16

        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            bfloat16 = "with bfloat16" if has_bfloat16(f"cuda:{index}") else "without bfloat16"
            memory = f"{properties.total_memory / 1e9:.1f} GB"
            rows.append((f"cuda:{index}", f"{properties.name}, {memory}, {bfloat16}"))
    else:
        reason = "this torch was built without it" if torch.version.cuda is None else "no driver or no card"
        rows.append(("cuda", f"none ({reason}); reconstruction runs on the CPU"))
        if torch.version.cuda is None and _has_nvidia():
            advice.append("there is an NVIDIA card, but this torch has no CUDA: see pytorch.org/get-started")
    if torch.backends.mps.is_available():
        rows.append(("mps", "there; try --device mps"))
    return rows


def _has_nvidia() -> bool:
    import shutil

    return shutil.which("nvidia-smi") is not None


def _bfloat16(seconds: Callable[[bool], float]) -> str:
    """Say how much faster convolutions are in bfloat16, measured: processors claim it and emulate it."""
    try:
        ratio = seconds(False) / seconds(True)
    except RuntimeError as error:
        return f"not supported ({' '.join(str(error).split())[:80]})"
    return f"{ratio:.1f}× as fast as float32"


def _used() -> str:
    """Say what `precision` auto is here, for reconstruction and for training alike: asked of the hardware."""
    from mrunfold.networks.precision import has_bfloat16

    return "used" if has_bfloat16("cpu") else "not used: this processor has no units for it"


def _cpu_seconds(bfloat16: bool) -> float:
    """Return the best wall time of a small convolution, float32 or bfloat16."""
    import time

    import torch

    dtype = torch.bfloat16 if bfloat16 else torch.float32
    x = torch.ones(1, 64, 96, 96, dtype=dtype).contiguous(memory_format=torch.channels_last)
    weight = torch.ones(64, 64, 3, 3, dtype=dtype).contiguous(memory_format=torch.channels_last)
    best = float("inf")
    with torch.no_grad():
        for _ in range(4):
            start = time.perf_counter()
            torch.nn.functional.conv2d(x, weight, padding=1)
            best = min(best, time.perf_counter() - start)
    return best


def _tools() -> list[tuple[str, str]]:
    import shutil

    return [
        (name, "found" if shutil.which(name) else f"missing: only to {purpose} ({remedy})")
        for name, purpose, remedy in TOOLS
    ]
