"""Cross-sensor matching: is this the same contact, felt by another sensor?"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def cross_sensor_matching(touch: Tensor, pair: Tensor, sensor_id: Tensor, head: nn.Linear,
                          has_touch: Tensor) -> Tensor:
    """Tell pairs of the same contact on two sensors from pairs of two contacts.

    Every sample that has a partner is an anchor. The paper draws one partner and one other contact for it; here all of
    the batch take part, each kind with its mean: the value that the draw has on average.

    Args:
        touch: float32 [N, D], unit length.
        pair: int64 [N], samples of the same contact share a number; -1 is a contact that no other sensor felt.
        sensor_id: int64 [N].
        head: Linear from D to one score; it sees the product of two embeddings, element by element.
        has_touch: bool [N]; samples without touch take no part.

    Returns:
        Scalar, the mean over the anchors of the cross-entropy of a partner plus that of another contact; 0 without
        anchors.

    Source: AnyTouch, section 4.4, eqs. 5 and 6; one Linear in place of an MLP, as in its published code.
    """
    scores = (touch * head.weight) @ touch.T + head.bias
    partners, strangers = _relations(pair, sensor_id, has_touch)
    errors = _mean_of(functional.softplus(-scores), partners) + _mean_of(functional.softplus(scores), strangers)
    anchors = matching_anchors(pair, sensor_id, has_touch)
    return (errors * anchors).sum() / anchors.sum().clamp(min=1)


def matching_anchors(pair: Tensor, sensor_id: Tensor, has_touch: Tensor) -> Tensor:
    """Tell which samples are compared, bool [N]: there is a partner and a stranger for them."""
    partners, strangers = _relations(pair, sensor_id, has_touch)
    return partners.any(dim=1) & strangers.any(dim=1)


def _relations(pair: Tensor, sensor_id: Tensor, has_touch: Tensor) -> tuple[Tensor, Tensor]:
    """Say of each two samples whether they are one contact on two sensors, and whether they are two contacts."""
    felt = has_touch[:, None] & has_touch
    same_contact = ((pair[:, None] == pair) & (pair >= 0)) | torch.eye(len(pair), dtype=torch.bool, device=pair.device)
    return same_contact & (sensor_id[:, None] != sensor_id) & felt, ~same_contact & felt


def _mean_of(values: Tensor, chosen: Tensor) -> Tensor:
    return (values * chosen).sum(dim=1) / chosen.sum(dim=1).clamp(min=1)
