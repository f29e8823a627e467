"""What is compiled, for which GPUs and by whom, is settled before any work, or refused with the reason."""

from __future__ import annotations

import argparse
import sys

import pytest

from export.runtime.engines.libraries import CURRENT, LIBRARIES
from export.runtime.engines.machine import Gpu
from export.tensorrt.arguments import add_compile_arguments
from export.tensorrt.compile import batch_ranges
from export.tensorrt.order import Order, parse_targets, read_order, settle

from .fake_tensorrt import make_library
from .gpu import GPU, pretend

AHEAD = ("sm75", "sm80", "sm86", "sm89", "sm120", "sm121")
FULL, RTX = LIBRARIES["tensorrt"], LIBRARIES["tensorrt-rtx"]
HOPPER = Gpu("H200", "sm90", "13.0")


def order_of(*arguments: str) -> Order | None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--precision")
    add_compile_arguments(parser)
    return read_order(parser.parse_args(arguments))


@pytest.mark.parametrize(
    ("text", "targets"),
    [
        ("sm80", ("sm80",)),
        ("sm80,sm89", ("sm80", "sm89")),
        (" SM89, sm80,sm89", ("sm89", "sm80")),
        ("current", ("current",)),
    ],
)
def test_targets_are_read(text: str, targets: tuple[str, ...]) -> None:
    assert parse_targets(text) == targets


@pytest.mark.parametrize("text", ["", "80", "sm", "smart", "sm80;sm89", "sm80,", "sm-80", "RTX4090"])
def test_what_is_no_target_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no GPU; write 'current', or sm80,sm89"):
        parse_targets(text)


def test_an_empty_target_is_not_the_gpu_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, GPU)
    with pytest.raises(ValueError, match="--target '': '' is no GPU"):
        order_of("--tensorrt", "--target", "")


def test_current_stands_alone() -> None:
    with pytest.raises(ValueError, match="'current' stands alone"):
        parse_targets("sm80,current")


@pytest.mark.parametrize(
    ("wanted", "library", "ahead", "gpu", "told"),
    [
        (("sm80", "sm89"), RTX, AHEAD, None, ("sm80", "sm89")),
        (("sm89",), RTX, AHEAD, GPU, ("sm89",)),
        ((CURRENT,), RTX, AHEAD, GPU, (CURRENT,)),
        ((CURRENT,), FULL, (), HOPPER, (CURRENT,)),
        (("sm90",), FULL, (), HOPPER, (CURRENT,)),  # TensorRT compiles for what is there, and here that is it
        (("sm90",), RTX, AHEAD, HOPPER, (CURRENT,)),
    ],
)
def test_the_library_is_told(wanted, library, ahead, gpu, told) -> None:  # type: ignore[no-untyped-def]
    assert settle(wanted, library, ahead, gpu, "") == told


@pytest.mark.parametrize(
    ("wanted", "library", "ahead", "gpu", "reason"),
    [
        ((CURRENT,), RTX, AHEAD, None, "--target current: this machine has no GPU: no driver; name the GPUs, such as"),
        (
            (CURRENT,),
            FULL,
            (),
            None,
            "--target current: this machine has no GPU: no driver; compile where",
        ),
        (("sm80",), FULL, (), HOPPER, r"tensorrt does not compile for sm80, only for a GPU that is there \(sm90\)"),
        (("sm80", "sm90"), FULL, (), HOPPER, r"does not compile for sm80, sm90"),
        (("sm80", "sm90"), RTX, AHEAD, None, r"tensorrt-rtx does not compile for sm90, only for sm75, .*\(none\)"),
        (("sm70",), RTX, AHEAD, HOPPER, r"does not compile for sm70, .* the GPU of this machine \(sm90\)"),
    ],
)
def test_what_cannot_be_compiled_is_refused(wanted, library, ahead, gpu, reason) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=reason):
        settle(wanted, library, ahead, gpu, "no driver")


def test_tensorrt_is_preferred_for_the_gpu_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", make_library("tensorrt_rtx", "1.7.1.116", None))
    pretend(monkeypatch, GPU)
    alone = order_of("--tensorrt")
    assert alone is not None
    assert (alone.library, alone.target, alone.precisions) == (RTX, "sm89", ("fp32", "fp16"))
    monkeypatch.setitem(sys.modules, "tensorrt", make_library("tensorrt", "10.14.1.48", None))
    both, ahead, named = (
        order_of("--tensorrt", "--target", "current"),
        order_of("--tensorrt", "--target", "sm80,sm89"),
        order_of("--tensorrt", "--library", "tensorrt-rtx"),
    )
    assert both is not None
    assert ahead is not None
    assert named is not None
    assert [one.library for one in (both, ahead, named)] == [FULL, RTX, RTX]


def test_a_library_that_is_missing_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, GPU)
    with pytest.raises(ValueError, match="the Python package 'tensorrt' is not installed"):
        order_of("--tensorrt", "--library", "tensorrt")


@pytest.mark.parametrize("flags", [("--target", "sm80"), ("--library", "tensorrt"), ("--max-batch", "4")])
def test_flags_without_tensorrt_are_not_ignored(flags: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match=f"{flags[0]} is about compiled engines; give --tensorrt too"):
        order_of(*flags)
    assert order_of() is None


def test_int8_alone_leaves_nothing_to_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", make_library("tensorrt_rtx", "1.7.1.116", None))
    with pytest.raises(ValueError, match="engines are compiled in fp32 and fp16; name one"):
        order_of("--tensorrt", "--target", "sm80", "--precision", "int8")


@pytest.mark.parametrize("most", [1, 2, 8, 9, 32, 33, 64, 200])
def test_every_batch_has_one_profile(most: int) -> None:
    ranges = batch_ranges(most)
    covered = [rows for batch in ranges for rows in range(batch.least, batch.most + 1)]
    assert covered == list(range(1, most + 1))
    assert all(batch.least <= batch.best <= batch.most for batch in ranges)
    assert len({batch.best for batch in ranges}) == len(ranges)


def test_no_batch_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, not 0"):
        batch_ranges(0)
