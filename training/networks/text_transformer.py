"""The language tower: a small causal transformer with a bridging adapter after every layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.networks.bridging_adapter import BridgingAdapter
from training.networks.transformer_block import TransformerBlock, initialise_linear


class TextTransformer(nn.Module):
    """Caption tokens to one feature: that of the end-of-text token, which sees the whole caption.

    Args:
        vocabulary_size: Number of token ids.
        context_length: Most tokens of a caption.
        width: Width of the tokens.
        depth: Number of layers; every one carries an adapter.
        heads: Attention heads.
        adapter_rank: r of the adapters.
    """

    def __init__(self, vocabulary_size: int, context_length: int, width: int, depth: int, heads: int,
                 adapter_rank: int):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, width)
        nn.init.normal_(self.embedding.weight, std=0.5)
        self.position = nn.Parameter(0.2 * torch.randn(1, context_length, width))
        self.layers = nn.ModuleList(TransformerBlock(width, heads, causal=True) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        initialise_linear(self)
        self.adapters = nn.ModuleList(BridgingAdapter(width, adapter_rank) for _ in range(depth))

    def forward(self, tokens: Tensor, lengths: Tensor, shared: Sequence[nn.Module]) -> Tensor:
        """Encode captions.

        Args:
            tokens: int64 [B, L], padded behind the end of text; L at most the context length.
            lengths: int64 [B], number of tokens with the end of text.
            shared: W_sh of every level, lowest first.

        Returns:
            float32 [B, width].
        """
        features = self.embedding(tokens) + self.position[:, :tokens.shape[1]]
        for layer, adapter, transform in zip(self.layers, self.adapters, shared, strict=True):
            features = adapter(layer(features), transform)
        return self.norm(features[torch.arange(len(tokens), device=tokens.device), lengths - 1])
