"""The towers of CLIP, run layer by layer, so that something can happen between the layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from transformers import CLIPModel

from training.batch_rows import batch_rows

# Of pixels 0..1, in RGB order. Source: Radford et al. 2021, the published preprocessing of CLIP; DataComp keeps it.
CLIP_PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_PIXEL_DEVIATION = (0.26862954, 0.26130258, 0.27577711)
_WRONG_END_OF_TEXT = 2

AfterLayer = Callable[[int, Tensor], Tensor]


class ClipImageTower(nn.Module):
    """Frames to tokens, tokens through the blocks, and the class token to a feature.

    Args:
        clip: The model whose vision blocks, norms and projection it takes over, without a copy.

    Attributes:
        image_size_px: Height and width of the frames.
        width: Width of the tokens.
        blocks: The transformer blocks, lowest first.
        projection: Linear without bias, from `width` to the embedding.
    """

    def __init__(self, clip: CLIPModel):
        super().__init__()
        vision = clip.vision_model
        self.image_size_px, self.width = vision.config.image_size, vision.config.hidden_size
        self.embeddings, self.pre_norm = vision.embeddings, vision.pre_layrnorm
        self.blocks, self.post_norm = vision.encoder.layers, vision.post_layernorm
        self.projection = clip.visual_projection
        for name, values in (('pixel_mean', CLIP_PIXEL_MEAN), ('pixel_deviation', CLIP_PIXEL_DEVIATION)):
            self.register_buffer(name, 255 * torch.tensor(values), persistent=False)

    def tokens(self, frames: Tensor, patch_dropout: float = 0.0) -> Tensor:
        """Turn frames into what enters the first block.

        Args:
            frames: uint8 or float32 [B, 1, image_size_px, image_size_px, 3], RGB, 0..255.
            patch_dropout: Share of the patches left out, drawn anew for every image; 0 keeps all. The class token
                always stays.

        Returns:
            float32 [B, 1 + kept patches, width], the class token first.
        """
        pixels = (frames.squeeze(1).to(torch.float32) - self.pixel_mean) / self.pixel_deviation
        tokens = self.embeddings(pixels.permute(0, 3, 1, 2))
        if patch_dropout > 0.0:
            batch, count, width = tokens.shape[0], tokens.shape[1] - 1, tokens.shape[2]
            order = batch_rows(batch).rand(count, device=tokens.device).argsort(dim=1)
            kept = 1 + order[:, :round(count * (1 - patch_dropout)), None].expand(-1, -1, width)
            tokens = torch.cat([tokens[:, :1], tokens.gather(1, kept)], dim=1)
        return self.pre_norm(tokens)

    def forward(self, tokens: Tensor, after_layer: AfterLayer, block_of_layer: Iterable[int] | None = None) -> Tensor:
        """Run the blocks.

        Args:
            tokens: float32 [B, N, width], from `tokens`.
            after_layer: Called behind every layer with its index and tokens; returns the tokens of the next layer.
            block_of_layer: Index of the block that each layer runs; None runs every block once, lowest first.

        Returns:
            float32 [B, width]: the class token behind the last norm, before the projection.
        """
        for layer, block in enumerate(range(len(self.blocks)) if block_of_layer is None else block_of_layer):
            tokens = after_layer(layer, self.blocks[block](tokens, None))
        return self.post_norm(tokens[:, 0])


class ClipTextTower(nn.Module):
    """Captions to one feature each: that of the end-of-text token, which sees the whole caption.

    Args:
        clip: The model whose text blocks, norm and projection it takes over, without a copy.

    Attributes:
        context_length: Most tokens of a caption.
        width: Width of the tokens.
        blocks: The transformer blocks, lowest first.
        projection: Linear without bias, from `width` to the embedding.
    """

    def __init__(self, clip: CLIPModel):
        super().__init__()
        text = clip.text_model
        self.context_length, self.width = text.config.max_position_embeddings, text.config.hidden_size
        self.end_of_text = text.config.eos_token_id
        self.embeddings, self.blocks = text.embeddings, text.encoder.layers
        self.final_norm, self.projection = text.final_layer_norm, clip.text_projection

    def forward(self, tokens: Tensor, after_layer: AfterLayer, block_of_layer: Iterable[int] | None = None) -> Tensor:
        """Encode captions.

        Args:
            tokens: int64 [B, L], L at most `context_length`; what follows the end of text has no influence.
            after_layer: As for the image tower.
            block_of_layer: As for the image tower.

        Returns:
            float32 [B, width], before the projection.
        """
        features = self.embeddings(input_ids=tokens)
        for layer, block in enumerate(range(len(self.blocks)) if block_of_layer is None else block_of_layer):
            features = after_layer(layer, self.blocks[block](features, None, is_causal=True))
        # Older configurations name 2 as the end of text, which it never was: there it is the highest id. Of several
        # equal ids, argmax takes the first.
        ends = tokens if self.end_of_text == _WRONG_END_OF_TEXT else (tokens == self.end_of_text).int()
        return self.final_norm(features[torch.arange(len(tokens), device=tokens.device), ends.argmax(dim=1)])
