"""One pre-norm transformer layer, shared by the image and the text towers."""

from torch import Tensor, nn
from torch.nn import functional


class TransformerBlock(nn.Module):
    """Self-attention and a two-layer perceptron, each after a LayerNorm and added to its input.

    Args:
        width: Width of the tokens.
        heads: Attention heads; divides `width`.
        causal: A token sees only itself and earlier ones.
    """

    def __init__(self, width: int, heads: int, causal: bool = False):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_output = nn.Linear(width, width)
        self.perceptron_norm = nn.LayerNorm(width)
        self.perceptron_input = nn.Linear(width, 4 * width)
        self.perceptron_output = nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens float32 [B, N, width] to the same shape."""
        batch, length, width = tokens.shape
        packed = self.query_key_value(self.attention_norm(tokens)).reshape(batch, length, 3, self.heads, -1)
        query, key, value = packed.permute(2, 0, 3, 1, 4).unbind(0)
        attended = functional.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        tokens = tokens + self.attention_output(attended.transpose(1, 2).reshape(batch, length, width))
        hidden = functional.gelu(self.perceptron_input(self.perceptron_norm(tokens)))
        return tokens + self.perceptron_output(hidden)


def initialise_linear(tower: nn.Module) -> None:
    """Draw Linear weights from N(0, 1 / inputs), so that narrow towers pass signals on undamped; zero the biases.

    The last layers of the residual branches start ten times smaller: a fresh tower hands its input on, and learns what
    to add to it.
    """
    for name, module in tower.named_modules():
        if isinstance(module, nn.Linear):
            branch_end = name.endswith(('attention_output', 'perceptron_output'))
            nn.init.trunc_normal_(module.weight, std=(0.1 if branch_end else 1.0) * module.in_features ** -0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
