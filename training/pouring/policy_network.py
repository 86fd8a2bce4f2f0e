"""PouringNetwork: touch beside its references -> motion of the gels -> poured mass -> smoothed over time -> action.

The bottlenecks are deliberate. A read-out shared by both fingers turns each embedding into three numbers that say where
the gel is; only their differences from the same grip with its full content go further, and only the mass of each moment
is remembered. A network that saw or remembered more would recognise the training vessels instead of weighing them.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.networks.tlv_core import MOTION_QUANTITIES

MOTION_SCALE = (0.1, 0.1, 3.0)
"""Typical size of each of MOTION_QUANTITIES: millimetres, millimetres, degrees."""

MASS_SCALE_G = 10.0
_NEARNESS_G = (1.0, 3.0, 10.0)
_TILTS = 4
"""The first numbers of the context; the last one, the pause, says nothing about mass."""


class PouringNetwork(nn.Module):
    """The policy's network.

    Args:
        embedding_size: D.
        target_mass_g: Mass that the operator pours, grams.
        readout_size: Hidden units of the read-out of one finger.
        hidden_size: Hidden units of the comparison.
        state_size: Units of the recurrent state.
    """

    def __init__(self, embedding_size: int, target_mass_g: float, readout_size: int = 128, hidden_size: int = 96,
                 state_size: int = 32):
        super().__init__()
        self.embedding_size, self.state_size, self.target_mass_g = embedding_size, state_size, target_mass_g
        self.register_buffer('embedding_mean', torch.zeros(embedding_size))
        self.register_buffer('embedding_std', torch.ones(embedding_size))
        quantities = len(MOTION_QUANTITIES)
        self.readout_linear = nn.Linear(embedding_size, quantities)
        self.readout = nn.Sequential(nn.Linear(embedding_size, readout_size), nn.GELU(), nn.Dropout(0.1),
                                     nn.Linear(readout_size, quantities))
        self.compare = nn.Sequential(nn.Linear(2 * 2 * quantities + _TILTS, hidden_size), nn.GELU(),
                                     nn.Linear(hidden_size, hidden_size), nn.GELU())
        self.weigh = nn.Linear(hidden_size, 1)
        self.recurrent = nn.GRU(1 + _TILTS // 2, state_size, batch_first=True)
        self.correct = nn.Linear(state_size, 1)
        self.action = nn.Sequential(nn.Linear(state_size + len(_NEARNESS_G) + 2, 32), nn.GELU(), nn.Linear(32, 3))

    def fit_normalisation(self, embeddings: np.ndarray) -> None:
        """Take mean and spread from training embeddings [..., D]."""
        flat = embeddings.reshape(-1, self.embedding_size)
        self.embedding_mean.copy_(torch.from_numpy(flat.mean(axis=0)))
        self.embedding_std.copy_(torch.from_numpy(np.maximum(flat.std(axis=0), 1e-4)))

    def read_motion(self, embeddings: Tensor) -> Tensor:
        """MOTION_QUANTITIES over their scale, up to a constant of the grip: [..., 3] of embeddings [..., D]."""
        normalised = (embeddings - self.embedding_mean) / self.embedding_std
        return self.readout_linear(normalised) + self.readout(normalised)

    def features(self, embeddings: Tensor, references: Tensor, context: Tensor) -> Tensor:
        """What is known at one decision.

        With the full content, turning the hand from upright to the reference tilt turned a known weight by a known
        angle, which tells how soft this grip is; what the gels have moved since tells what has left the vessel.

        Args:
            embeddings: [..., 2, D], left and right.
            references: [..., 2, 2, D]: finger, then upright and tilted.
            context: [..., 5], see `policy_context`.

        Returns:
            [..., hidden_size].
        """
        motion, reference = self.read_motion(embeddings), self.read_motion(references)
        upright, tilted = reference[..., 0, :], reference[..., 1, :]
        moved, turned = motion - tilted, (tilted - upright).expand_as(motion)
        return self.compare(torch.cat([moved.flatten(-2), turned.flatten(-2), context[..., :_TILTS]], dim=-1))

    def weigh_at_once(self, features: Tensor) -> Tensor:
        """Poured mass in grams [...] from the features [..., hidden_size] of a single moment; used in training only."""
        return self.weigh(features)[..., 0] * MASS_SCALE_G

    def sequence(self, features: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Whole episodes at once, for training.

        Args:
            features: [B, T, hidden_size], see `features`.
            context: [B, T, 5].

        Returns:
            Action logits [B, T, 3] and poured mass [B, T] in grams.
        """
        weighed = self._weighed(features, context)
        states, _ = self.recurrent(weighed)
        return self._heads(states, weighed, context)

    def forward(self, embeddings: Tensor, references: Tensor, context: Tensor,
                state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One decision, as exported: embeddings [B, 2, D], references [B, 2, 2, D], context [B, 5], state [B, S].

        Returns:
            Action probabilities [B, 3], poured mass [B, 1] in grams, next state [B, S].
        """
        weighed = self._weighed(self.features(embeddings, references, context), context)
        gru = self.recurrent
        from_input = functional.linear(weighed, gru.weight_ih_l0, gru.bias_ih_l0).chunk(3, dim=-1)
        from_state = functional.linear(state, gru.weight_hh_l0, gru.bias_hh_l0).chunk(3, dim=-1)
        reset, update = (torch.sigmoid(from_input[i] + from_state[i]) for i in range(2))
        candidate = torch.tanh(from_input[2] + reset * from_state[2])
        next_state = (1.0 - update) * candidate + update * state
        logits, mass = self._heads(next_state, weighed, context)
        return torch.softmax(logits, dim=-1), mass[..., None], next_state

    def _weighed(self, features: Tensor, context: Tensor) -> Tensor:
        """Mass of the moment and the tilt: all that is remembered of a vessel, [..., 3]."""
        return torch.cat([self.weigh(features), context[..., :_TILTS // 2]], dim=-1)

    def _heads(self, states: Tensor, weighed: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        mass_g = (weighed[..., :1] + self.correct(states)) * MASS_SCALE_G
        nearness = torch.tanh((mass_g - self.target_mass_g) / mass_g.new_tensor(_NEARNESS_G))
        pause = context[..., 4:]
        logits = self.action(torch.cat([states, nearness, pause, torch.tanh(8.0 * pause - 2.4)], dim=-1))
        return logits, mass_g[..., 0]
