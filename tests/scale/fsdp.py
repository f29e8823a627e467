"""What of a training works on a sharded network (FSDP) and what does not: the table of docs/scale.md.

    torchrun --standalone --nproc_per_node 2 -m tests.scale.fsdp

Two processes on the CPU, connected by gloo; a DiT of a few thousand weights, its blocks sharded one by one. What gives
numbers is compared with the same network whole.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.fsdp.wrap import ModuleWrapPolicy
from torch.nn.attention import SDPBackend, sdpa_kernel

from models.dit import Block, DiT
from models.flow_map import FlowMap
from trainer.ema import PowerEMA

ROWS, STEP = 4, 5e-3


def network() -> FlowMap:
    """A tiny one without zeros; the same on every process."""
    torch.manual_seed(0)
    flow_map = FlowMap(DiT((1, 8, 8), 2, width=16, depth=2, heads=2))
    for weight in flow_map.parameters():
        nn.init.normal_(weight, std=0.1)
    return flow_map


def fsdp1(flow_map: FlowMap) -> nn.Module:
    """FullyShardedDataParallel around it and its blocks."""
    policy = ModuleWrapPolicy({Block})
    return FullyShardedDataParallel(
        flow_map, auto_wrap_policy=policy, use_orig_params=True, device_id=torch.device("cpu")
    )


def fsdp2(flow_map: FlowMap) -> nn.Module:
    """fully_shard on its blocks and on it."""
    for part in flow_map.modules():
        if isinstance(part, Block):
            fully_shard(part)
    fully_shard(flow_map)
    return flow_map


def inputs() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """z, t, s, label and a velocity; the same on every process, so that means over processes are what one has."""
    generator = torch.Generator().manual_seed(1)
    z, v = torch.randn(2, ROWS, 1, 8, 8, generator=generator)
    return z, torch.full((ROWS,), 0.7), torch.full((ROWS,), 0.2), torch.arange(ROWS) % 3, v


def jvp(u: Callable[..., Tensor]) -> Tensor:
    """du/dt by forward mode, without gradient."""
    z, t, s, label, v = inputs()
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        tangents = (v, torch.ones_like(t), torch.zeros_like(s))
        derivative: Tensor = torch.func.jvp(lambda z, t, s: u(z, t, s, label), (z, t, s), tangents)[1]
    return derivative


def difference(u: Callable[..., Tensor]) -> Tensor:
    """du/dt by a central difference."""
    z, t, s, label, v = inputs()
    with torch.no_grad():
        ahead = u(z + STEP * v, t + STEP, s, label)
        return (ahead - u(z - STEP * v, t - STEP, s, label)) / (2 * STEP)


def unsharded_jvp(module: nn.Module) -> Tensor:
    """Forward mode on the whole network, gathered for it."""
    if isinstance(module, FullyShardedDataParallel):
        with FullyShardedDataParallel.summon_full_params(module, writeback=False):
            plain = copy.deepcopy(network())
            names = {name.replace("_fsdp_wrapped_module.", ""): value for name, value in module.named_parameters()}
            plain.load_state_dict(names)
        return jvp(plain)
    plain = network()
    plain.load_state_dict(get_model_state_dict(module, options=StateDictOptions(full_state_dict=True)))
    return jvp(plain)


def backward(module: nn.Module) -> Tensor:
    """Norm of the gradient of a mean of squares."""
    z, t, s, label, _ = inputs()
    module.zero_grad()
    module(z, t, s, label).square().mean().backward()
    if isinstance(module, FullyShardedDataParallel):
        return module.clip_grad_norm_(1e9)
    norm = nn.utils.clip_grad_norm_(module.parameters(), 1e9)
    return norm.full_tensor() if hasattr(norm, "full_tensor") else norm


def gathered(module: nn.Module) -> Tensor:
    """Sum of the squares of all weights, from the whole state that a checkpoint needs."""
    state = get_model_state_dict(module, options=StateDictOptions(full_state_dict=True))
    return torch.stack([value.double().square().sum() for value in state.values()]).sum()


def averaged(module: nn.Module) -> Tensor:
    """`PowerEMA` as it is: its state after an update, summed."""
    ema = PowerEMA(module, 0.1)
    with torch.no_grad():
        for weight in module.parameters():
            weight.mul_(2)
    ema.update(module, 2)
    sums = [value.sum() for value in ema.state.values()]
    return torch.stack([value.full_tensor() if hasattr(value, "full_tensor") else value for value in sums]).sum()


def moved(optimiser: str) -> Callable[[nn.Module], Tensor]:
    """The weights after a step of an optimiser."""

    def step(module: nn.Module) -> Tensor:
        backward(module)
        if optimiser == "muon":
            weights = [
                value
                for name, value in module.named_parameters()
                if ".mlp." in name and "weight" in name and "blocks" in name
            ]
            chosen: torch.optim.Optimizer = torch.optim.Muon(weights, lr=0.01)
        else:
            chosen = torch.optim.AdamW(module.parameters(), lr=0.01)
        chosen.step()
        return gathered(module)

    return step


def meanflow(module: nn.Module) -> Tensor:
    """Norm of the gradient of MeanFlow's step: forward mode beside the forward pass, then the backward pass."""
    z, t, s, label, v = inputs()
    module.zero_grad()
    prediction = module(z, t, s, label)
    target = v - (t - s)[:, None, None, None] * jvp(module)
    (prediction - target).square().mean().backward()
    norm = nn.utils.clip_grad_norm_(module.parameters(), 1e9)
    return norm.full_tensor() if hasattr(norm, "full_tensor") else norm


CHECKS: dict[str, Callable[[nn.Module], Tensor]] = {
    "forward and backward, norm of the gradient": backward,
    "forward-mode derivative of the sharded network": jvp,
    "the same between a forward pass and its backward pass": meanflow,
    "forward-mode derivative of the gathered network": unsharded_jvp,
    "finite difference of the sharded network": difference,
    "whole state dict, for a checkpoint": gathered,
    "PowerEMA, unchanged": averaged,
    "AdamW": moved("adamw"),
    "Muon": moved("muon"),
}


CRASHES = {("the same between a forward pass and its backward pass", "fsdp1"): "SIGSEGV"}
"""What is not tried again, because it takes the process with it (torch 2.13.0)."""


def check(work: Callable[[nn.Module], Tensor], shard: Callable[[FlowMap], nn.Module]) -> str:
    """`yes`, or what went wrong."""
    expected = work(network())
    try:
        found = work(shard(network()))
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
    error = float((found - expected).abs().max() / expected.abs().max())
    return "yes" if error < 1e-4 else f"runs, but {100 * error:.2g} % off"


def main() -> None:
    """Print the table on the first process. Each line stands for itself: the network is made anew."""
    warnings.simplefilter("ignore")
    dist.init_process_group("gloo")
    for name, work in CHECKS.items():
        row = [CRASHES.get((name, shard.__name__)) or check(work, shard) for shard in (fsdp1, fsdp2)]
        if dist.get_rank() == 0:
            print(f"| {name} | {' | '.join(row)} |", flush=True)
        dist.barrier()
    error = float((difference(network()) - jvp(network())).abs().max() / jvp(network()).abs().max())
    if dist.get_rank() == 0:
        print(f"torch {torch.__version__}; the difference itself is {100 * error:.2g} % from forward mode")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
