"""Unified Bridging Adapter: a low-rank detour through a space that all modalities share."""

from torch import Tensor, nn


class BridgingAdapter(nn.Module):
    """One modality's way into the shared space and back: h + W_up W_sh W_down h.

    W_sh belongs to all modalities of a level, so the caller owns it and hands it over. W_up starts at zero: a fresh
    adapter changes nothing, which keeps the towers stable while they train from scratch.

    Args:
        width: d, width of the tower.
        rank: r, width of the shared space.

    Source: TLV-CoRe, section 3.2, eq. 4; no bias and no nonlinearity, as in the equation.
    """

    def __init__(self, width: int, rank: int):
        super().__init__()
        self.down = nn.Linear(width, rank, bias=False)
        self.up = nn.Linear(rank, width, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, features: Tensor, shared: nn.Module) -> Tensor:
        """Add the detour.

        Args:
            features: float32 [..., width].
            shared: W_sh of this level, maps [..., rank] to [..., rank].

        Returns:
            float32 [..., width].
        """
        return features + self.up(shared(self.down(features)))
