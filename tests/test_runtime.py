from __future__ import annotations

import ctypes
import json
import os
import platform
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mnist_dvc import __version__, runtime
from mnist_dvc.errors import DeviceError
from mnist_dvc.runtime import choose_device, choose_precision, machine, provenance, set_up

CPU = torch.device("cpu")
CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def present(monkeypatch: pytest.MonkeyPatch, *, cuda: bool, mps: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_takes_the_best_device(monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, expected: str) -> None:  # noqa: FBT001
    present(monkeypatch, cuda=cuda, mps=mps)
    assert choose_device("auto").type == expected


def test_named_device_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    present(monkeypatch, cuda=False, mps=False)
    assert choose_device("cpu") == CPU
    for name in ("cuda", "mps"):
        with pytest.raises(DeviceError, match=rf"train.device: got {name}, expected .* finds here \(cpu\)") as caught:
            choose_device(name)
        assert caught.value.exit_code == 2


@pytest.mark.parametrize(("native", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_auto_precision_follows_the_processor(monkeypatch: pytest.MonkeyPatch, native: bool, expected: str) -> None:  # noqa: FBT001
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    assert choose_precision("auto", CPU) == expected
    assert choose_precision("auto", torch.device("mps")) == "float32"


@pytest.mark.parametrize(("native", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_auto_precision_follows_the_gpu(monkeypatch: pytest.MonkeyPatch, native: bool, expected: str) -> None:  # noqa: FBT001
    """A GPU that only imitates bfloat16 does not count as one that has it."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *, including_emulation: including_emulation or native)
    assert choose_precision("auto", torch.device("cuda")) == expected
    assert choose_precision("float32", torch.device("cuda")) == "float32"


def test_named_gpu_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    present(monkeypatch, cuda=True, mps=False)
    assert choose_device("cuda") == torch.device("cuda")
    with pytest.raises(DeviceError, match=r"train.device: got mps, .* \(cuda, cpu\)"):
        choose_device("mps")


def test_named_precision_is_kept() -> None:
    assert choose_precision("bfloat16", CPU) == "bfloat16"


def test_set_up_takes_the_threads_and_asks_for_determinism() -> None:
    said: list[str] = []
    assert set_up(CPUS, said.append) == CPUS
    assert not said
    assert torch.get_num_threads() == CPUS
    assert torch.are_deterministic_algorithms_enabled()
    assert float(torch.tensor(1e-40) * 1.0) == 0.0


def test_set_up_has_float32_convolved_in_float32() -> None:
    convolution = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    assert convolution.fp32_precision == "tf32"
    set_up(1)
    assert convolution.fp32_precision != "tf32"


def test_set_up_hears_no_alarm_about_maxima_of_whole_maps_and_any_other() -> None:
    words = "{} does not have a deterministic implementation, but you set 'torch.use_deterministic_algorithms"
    with pytest.raises(UserWarning, match="adaptive_max_pool2d"):
        warnings.warn(words.format("adaptive_max_pool2d_backward_cuda"), stacklevel=1)
    set_up(1)
    warnings.warn(words.format("adaptive_max_pool2d_backward_cuda"), stacklevel=1)
    with pytest.raises(UserWarning, match="cumsum"):
        warnings.warn(words.format("cumsum_cuda_kernel"), stacklevel=1)


def test_set_up_takes_no_more_threads_than_cpus_and_says_so() -> None:
    said: list[str] = []
    assert set_up(CPUS + 1, said.append) == CPUS
    assert said == [f"{CPUS + 1:,} threads asked for, {CPUS:,} granted (logical CPUs of this process)"]
    assert set_up(CPUS + 1) == torch.get_num_threads() == CPUS


def test_set_up_takes_no_more_threads_than_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_openmp", lambda: SimpleNamespace(omp_get_num_procs=lambda: 8))
    monkeypatch.setattr(runtime, "_team_size", lambda _, threads: threads - 1)
    said: list[str] = []
    assert set_up(4, said.append) == torch.get_num_threads() == 3
    assert said == ["4 threads asked for, 3 granted (OpenMP)"]


@pytest.mark.parametrize(
    ("variables", "granted", "limit"),
    [
        ({}, 8, "logical CPUs of this process"),
        ({"OMP_THREAD_LIMIT": " 3 "}, 3, "OMP_THREAD_LIMIT=3"),
        ({"OMP_THREAD_LIMIT": "9"}, 8, "logical CPUs of this process"),
        ({"OMP_THREAD_LIMIT": "8"}, 8, "logical CPUs of this process, OMP_THREAD_LIMIT=8"),
        ({"OMP_MAX_ACTIVE_LEVELS": "0"}, 1, "OMP_MAX_ACTIVE_LEVELS=0"),
        ({"OMP_MAX_ACTIVE_LEVELS": "1"}, 8, "logical CPUs of this process"),
        ({"OMP_DYNAMIC": "TRUE"}, 1, "OMP_DYNAMIC"),
        ({"OMP_DYNAMIC": "false"}, 8, "logical CPUs of this process"),
        *(
            ({"OMP_THREAD_LIMIT": value}, 8, "logical CPUs of this process")
            for value in ("", "0", "-1", "1.5", "two", "2,1", "9" * 5000)
        ),
    ],
)
def test_without_openmp_the_environment_tells_the_limits(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], granted: int, limit: str
) -> None:
    monkeypatch.setattr(runtime, "_openmp", lambda: None)
    monkeypatch.setattr(runtime, "_cpus", lambda: 8)
    for name in ("OMP_THREAD_LIMIT", "OMP_MAX_ACTIVE_LEVELS", "OMP_DYNAMIC"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    said: list[str] = []
    assert set_up(1000, said.append) == torch.get_num_threads() == granted
    assert said == [f"1,000 threads asked for, {granted} granted ({limit})"]


def test_a_system_that_does_not_tell_its_cpus_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_openmp", lambda: None)
    monkeypatch.setattr(runtime, "_cpus", lambda: None)
    assert set_up(2) == 1


@pytest.mark.parametrize("name", ["GOMP_parallel", "omp_set_dynamic", "sem_post"])
def test_a_runtime_of_another_kind_is_left_alone(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    whole = ("GOMP_parallel", "omp_get_num_procs", "omp_set_dynamic", "sem_getvalue", "sem_init", "sem_post")
    there = SimpleNamespace(**dict.fromkeys(whole, 0))
    monkeypatch.setattr(ctypes, "CDLL", lambda _: there)
    assert runtime._openmp() == there
    delattr(there, name)
    assert runtime._openmp() is None


def test_windows_is_not_asked_for_symbols_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "os", SimpleNamespace(name="nt"))
    assert runtime._openmp() is None


FAULTS = """
import ctypes
import resource
import sys

import torch

from mnist_dvc import runtime

# glibc's own value from the start on, or it would adapt to what it meets, and differently each time.
ctypes.CDLL(None).mallopt(-3, 128 * 2**10)
if sys.argv[1] == "plain":
    runtime._keep_freed_memory = lambda: None
runtime.set_up(1)


def step():
    maps = [torch.zeros(2**20) for _ in range(5)]
    return len(maps)


for _ in range(20):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator is that of glibc")
def test_set_up_keeps_what_a_step_frees() -> None:
    faults = {
        kind: int(
            subprocess.run([sys.executable, "-c", FAULTS, kind], check=True, capture_output=True, text=True).stdout
        )
        for kind in ("plain", "kept")
    }
    assert faults["kept"] < 100
    assert faults["plain"] > 1_000


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without the variables of any library."""
    for name in [name for name in os.environ if name.startswith(runtime._DECIDING)]:
        monkeypatch.delenv(name)
    return monkeypatch


PLAIN = {
    "mnist_dvc": __version__,
    "torch": torch.__version__,
    "device": "cpu",
    "cpu": torch.backends.cpu.get_cpu_capability(),
    "precision": "float32",
    "threads": 3,
}


@pytest.mark.usefixtures("bare")
def test_provenance_names_what_decides_the_bits() -> None:
    record = provenance(3, CPU, "float32")
    assert list(record.items()) == list(PLAIN.items())
    assert json.loads(json.dumps(record)) == PLAIN


def test_provenance_names_the_gpu_and_the_library_that_chooses_its_kernels(bare: pytest.MonkeyPatch) -> None:
    bare.setattr(torch.cuda, "get_device_name", lambda device: f"a card of {device}")
    bare.setattr(torch.backends.cudnn, "version", lambda: 91_002)
    record = provenance(3, torch.device("cuda"), "float32")
    told = {"device": "cuda", "accelerator": "a card of cuda", "cudnn": "91002"}
    assert record == PLAIN | told
    bare.setenv("MKL_CBWR", "COMPATIBLE")
    assert list(provenance(3, torch.device("cuda"), "float32")) == [*record, "environment"]


@pytest.mark.usefixtures("bare")
def test_provenance_does_not_change_by_what_set_up_sets() -> None:
    set_up(1)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert provenance(3, CPU, "float32") == PLAIN


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ATEN_CPU_CAPABILITY", "default"),
        ("CUBLAS_WORKSPACE_CONFIG", ":16:8"),
        ("DNNL_MAX_CPU_ISA", "AVX2"),
        ("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-FMA"),
        ("KMP_DETERMINISTIC_REDUCTION", "true"),
        ("MKL_CBWR", "COMPATIBLE"),
        ("MKL_DEBUG_CPU_TYPE", "5"),
        ("MKL_DOMAIN_NUM_THREADS", "MKL_BLAS=1"),
        ("MKL_ENABLE_INSTRUCTIONS", "AVX2"),
        ("NVIDIA_TF32_OVERRIDE", "0"),
        ("OMP_DYNAMIC", "true"),
        ("OMP_SCHEDULE", "static"),
        ("ONEDNN_DEFAULT_FPMATH_MODE", "BF16"),
        ("ONEDNN_MAX_CPU_ISA", "AVX2"),
        ("TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "1"),
        ("TORCH_MKLDNN_MATMUL_MIN_DIM", "1"),
    ],
)
def test_provenance_names_a_variable_that_may_choose_kernels(bare: pytest.MonkeyPatch, name: str, value: str) -> None:
    bare.setenv(name, value)
    record = provenance(3, CPU, "float32")
    assert list(record.items()) == [*PLAIN.items(), ("environment", f"{name}={value}")]


def test_provenance_names_variables_in_one_order_and_on_one_line(bare: pytest.MonkeyPatch) -> None:
    bare.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    bare.setenv("OMP_SCHEDULE", "x" * 1000)
    bare.setenv("MKL_CBWR", "COMPATIBLE\n")
    first, second, third = provenance(3, CPU, "float32")["environment"].split(" ")
    assert first == "MKL_CBWR=COMPATIBLE\\n"
    assert second.startswith("OMP_SCHEDULE=xxx")
    assert len(second) < 500
    assert third == "ONEDNN_MAX_CPU_ISA=AVX2"


@pytest.mark.parametrize(
    "name",
    [
        *("GOMP_CPU_AFFINITY", "GOMP_DEBUG", "GOMP_SPINCOUNT", "GOMP_STACKSIZE"),
        *("MKL_NUM_THREADS", "MKL_VERBOSE", "MKL_VERSION", "ONEDNN_VERBOSE", "ONEDNN_JIT_DUMP", "CUDNN_LOGINFO_DBG"),
        *("OMP_AFFINITY_FORMAT", "OMP_DISPLAY_AFFINITY", "OMP_DISPLAY_ENV", "OMP_NUM_THREADS", "OMP_PLACES"),
        *("OMP_PROC_BIND", "OMP_STACKSIZE", "OMP_THREAD_LIMIT", "OMP_WAIT_POLICY", "OPENBLAS_NUM_THREADS"),
        *("KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK", "TORCH_HOME", "PATH", "MKLROOT"),
    ],
)
def test_provenance_leaves_out_what_counts_places_or_shows(bare: pytest.MonkeyPatch, name: str) -> None:
    bare.setenv(name, "1")
    assert provenance(3, CPU, "float32") == PLAIN


@pytest.mark.parametrize("value", ["/opt/mkl", "-L/opt/mkl -lmkl_rt", r"C:\mkl"])
def test_provenance_tells_nobody_s_folders(bare: pytest.MonkeyPatch, value: str) -> None:
    bare.setenv("MKL_HOME", value)
    assert provenance(3, CPU, "float32") == PLAIN


def test_machine_names_what_decides_the_time_and_nobody_s_computer() -> None:
    record = machine()
    assert list(record) == ["processor", "cpus", "accelerator", "system", "versions"]
    assert record["processor"]
    assert record["cpus"] >= 1
    assert list(record["versions"]) == ["mnist_dvc", "numpy", "python", "torch"]
    told = json.dumps(record)
    assert json.loads(told) == record
    assert str(Path.home()) not in told


def test_machine_without_proc_still_has_a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", refuse)
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "a machine")
    assert machine()["processor"] == "a machine"


@pytest.mark.parametrize("there", [True, False])
def test_machine_names_an_accelerator_only_where_there_is_one(monkeypatch: pytest.MonkeyPatch, *, there: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")
    assert machine()["accelerator"] == ("a card" if there else None)
