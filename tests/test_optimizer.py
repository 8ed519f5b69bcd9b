"""Muon against the singular values it promises, and as an optimizer that resumes."""
import torch
from torch import nn

from training.learner import Muon, orthogonalised


def test_orthogonalised_keeps_directions_and_flattens_singular_values():
    matrix = torch.randn(48, 20, generator=torch.Generator().manual_seed(0)) * torch.logspace(-1, 1, 20)
    values = torch.linalg.svdvals(orthogonalised(matrix))
    assert values.min() > 0.4 and values.max() < 1.4                       # published coefficients: about [0.7, 1.2]
    u, _, vt = torch.linalg.svd(matrix, full_matrices=False)
    assert torch.cosine_similarity(orthogonalised(matrix).flatten(), (u @ vt).flatten(), dim=0) > 0.95


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Conv1d(32, 32, 1), nn.GELU(), nn.Flatten(), nn.Linear(32, 1))


def fit(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> float:
    x = torch.randn(256, 16, generator=torch.Generator().manual_seed(1))
    y = (x[:, :1] * x[:, 1:2]).tanh()
    for _ in range(steps):
        hidden = model[1](model[0](x)).unsqueeze(-1)
        loss = ((model[3:](model[2](hidden)) - y) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


def test_muon_learns():
    model = network()
    before = fit(model, torch.optim.SGD(model.parameters(), lr=0.0), 1)
    assert fit(model, Muon(model.named_parameters(), 0.02, adam_lr=1e-3), 80) < 0.1 * before


def test_resuming_muon_equals_never_stopping():
    whole, halves = network(), network()
    fit(whole, Muon(whole.named_parameters(), 0.02, adam_lr=1e-3), 6)
    first = Muon(halves.named_parameters(), 0.02, adam_lr=1e-3)
    fit(halves, first, 3)
    second = Muon(halves.named_parameters(), 0.02, adam_lr=1e-3)
    second.load_state_dict(first.state_dict())
    fit(halves, second, 3)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), halves.parameters()))
