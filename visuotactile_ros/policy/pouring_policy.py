"""PouringPolicy: touch and tilt in, one of three actions out, from a model folder.

The network is recurrent; its state is an input and an output of the graph, kept here. It sees every embedding beside
two references of the same grip with the full content: upright, and at the tilt at which the pour starts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from visuotactile_ros.errors import ModelError
from visuotactile_ros.inference.model_folder import load_model_folder
from visuotactile_ros.parameters.pouring_task import PouringTaskParameters
from visuotactile_ros.policy.observation import SENSORS, PouringObservation

ACTIONS = ('pour', 'wait', 'retract')
LONGEST_PAUSE = 5
"""Decisions since the last pour are counted up to here."""


@dataclass(frozen=True, eq=False)
class PouringDecision:
    """What a policy wants.

    Attributes:
        action: One of ACTIONS.
        probabilities: float32 [3], of ACTIONS, summing to one.
        poured_mass_g: The policy's own estimate of what has left the vessel, grams; not a number where it has none.
    """

    action: str
    probabilities: np.ndarray
    poured_mass_g: float


@dataclass(frozen=True, eq=False)
class GripReference:
    """Mean embeddings of one grip that still holds the full content.

    Attributes:
        upright: float32 [D] by sensor, with the vessel upright.
        tilted: float32 [D] by sensor, at the tilt at which the pour starts.
        tilted_deg: That tilt as measured, degrees.
    """

    upright: Mapping[str, np.ndarray]
    tilted: Mapping[str, np.ndarray]
    tilted_deg: float


class Policy(Protocol):
    """Whatever decides in the pour: the network, a scripted operator, another controller."""

    def reset(self, reference: GripReference) -> None:
        """Start an episode."""

    def decide(self, observation: PouringObservation) -> PouringDecision:
        """Choose an action; called once a period, in order."""


class PouringPolicy:
    """The learned policy.

    Args:
        folder: Its model folder.

    Attributes:
        card: The model card; `constants` holds what it was trained for: `target_mass_g`, `step_deg`, `policy_rate_hz`,
            `approach_tilt_deg`, `encoder_name` and `encoder_sha256`.
        embedding_size: How many numbers an embedding has.

    Raises:
        ModelError: The folder is refused, or holds no pouring policy.
    """

    def __init__(self, folder: Path | str):
        loaded = load_model_folder(folder)
        self.card, self._model = loaded.card, loaded.model
        if self.card.kind != 'pouring_policy':
            raise ModelError(f'{folder} holds a {self.card.kind}, not a pouring policy',
                             'Give the folder of a pouring policy')
        shapes = {tensor.name: tensor.shape for tensor in self.card.inputs}
        self.embedding_size, self._state_size = shapes['embeddings'][2], shapes['state'][1]
        self._reference: GripReference | None = None

    def check_encoder(self, encoder_sha256: str) -> None:
        """Refuse embeddings of another encoder than the one the policy was trained on.

        Raises:
            ModelError: The hashes differ.
        """
        expected = self.card.constants['encoder_sha256']
        if encoder_sha256 != expected:
            raise ModelError(f'the policy was trained on the encoder {self.card.constants["encoder_name"]} with hash '
                             f'{str(expected)[:12]}…, not {encoder_sha256[:12]}…',
                             'Train the policy on this encoder: python -m training.pouring.train_policy')

    def check_task(self, parameters: PouringTaskParameters) -> None:
        """Refuse a task the policy was not trained for.

        Raises:
            ModelError: Target, step, rate or approach tilt differ from those of the training.
        """
        asked = {'target_mass_g': parameters.target_mass_g, 'step_deg': parameters.step_deg,
                 'policy_rate_hz': parameters.policy_rate_hz, 'approach_tilt_deg': parameters.approach_tilt_deg}
        for name, value in asked.items():
            if not math.isclose(value, self.card.constants[name]):
                raise ModelError(f'{name} is {value}, the policy was trained for {self.card.constants[name]}',
                                 f'Set it back, or train a policy whose recipe says {name}: {value}: '
                                 'python -m training.pouring.train_policy --recipe <yaml>')

    def reset(self, reference: GripReference) -> None:
        """Start an episode with its references.

        Raises:
            ModelError: An embedding has another size than the policy's.
        """
        self._reference = reference
        self._references = np.stack([self._stack(reference.upright), self._stack(reference.tilted)], axis=2)
        self._state = np.zeros((1, self._state_size), np.float32)
        self._since_pour = LONGEST_PAUSE

    def decide(self, observation: PouringObservation) -> PouringDecision:
        """Choose the likeliest action.

        Raises:
            ModelError: `reset` was not called, or the network gives a number that is not finite.
        """
        if self._reference is None:
            raise ModelError('the policy has no reference of this grip', 'Call reset first')
        outputs = self._model.run({
            'embeddings': self._stack(observation.embeddings),
            'references': self._references,
            'context': policy_context(observation.tilt_deg, self._reference.tilted_deg, self._since_pour),
            'state': self._state})
        self._state = outputs['next_state']
        probabilities = outputs['action_probabilities'][0]
        action = ACTIONS[int(np.argmax(probabilities))]
        self._since_pour = 0 if action == 'pour' else min(self._since_pour + 1, LONGEST_PAUSE)
        return PouringDecision(action, probabilities, float(outputs['poured_mass_g'][0, 0]))

    def _stack(self, embeddings: Mapping[str, np.ndarray]) -> np.ndarray:
        stacked = np.stack([np.asarray(embeddings[sensor], np.float32) for sensor in SENSORS])[None]
        if stacked.shape[2] != self.embedding_size:
            raise ModelError(f'an embedding has {stacked.shape[2]} numbers, the policy takes {self.embedding_size}',
                             'Use the encoder the policy was trained on')
        return stacked


def policy_context(tilt_deg: float, reference_tilt_deg: float, since_pour: int) -> np.ndarray:
    """What the network knows apart from touch; training uses the same function.

    Args:
        tilt_deg: Measured tilt, degrees.
        reference_tilt_deg: Tilt of the tilted reference, degrees.
        since_pour: Decisions since the last pour, at most LONGEST_PAUSE.

    Returns:
        float32 [1, 5]: sine and cosine of both tilts, and the pause as a fraction.
    """
    tilt, reference = np.radians(tilt_deg), np.radians(reference_tilt_deg)
    return np.array([[np.sin(tilt), np.cos(tilt), np.sin(reference), np.cos(reference), since_pour / LONGEST_PAUSE]],
                    np.float32)
