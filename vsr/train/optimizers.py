"""The optimizer of a stage, and what one run can take over from another's."""

from collections.abc import Mapping

import torch

from vsr.training import Optimizer


def adam(settings: Optimizer) -> torch.optim.AdamW:
    """Without parameters: they are added group by group."""
    optimizer = torch.optim.AdamW(
        [torch.zeros(0)], lr=settings.lr, betas=settings.betas, weight_decay=settings.weight_decay, fused=True
    )
    optimizer.param_groups.clear()
    return optimizer


def adopt_moments(optimizer: torch.optim.Optimizer, state: object) -> None:
    """Take over the moments of another run's optimizer, not its settings, if they belong to the same shapes."""
    if isinstance(state, dict) and _fits(optimizer, state):
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state["state"]})


def _fits(optimizer: torch.optim.Optimizer, state: Mapping[str, object]) -> bool:
    """Whether the moments of a state belong to parameters of the same shapes, group by group."""
    groups, moments = state["param_groups"], state["state"]
    assert isinstance(groups, list)
    assert isinstance(moments, dict)
    own = [[p.shape for p in row["params"]] for row in optimizer.param_groups]
    theirs = [[getattr(moments.get(n, {}).get("exp_avg"), "shape", None) for n in row["params"]] for row in groups]
    return own == theirs
