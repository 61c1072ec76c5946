"""Fitting a small network to any arrays: the few lines under `rtaudio.learn`."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    Indices = NDArray[np.int64]

CHUNK, CHUNK_BYTES = 16384, 64 << 20  # of examples at once: as many, as far as they fit
MOST_AN_EPOCH = 200_000  # examples; others are drawn for the next
VALIDATION = 0.1


class Examples(Protocol):
    """What `fit` learns from: an array, or anything that has a length and gives rows."""

    def __len__(self) -> int: ...

    def __getitem__(self, indices: Any) -> Any: ...


@dataclass
class Fit:
    """A network that has learned."""

    pipeline: Any
    """Of scikit-learn: it standardizes, then a multilayer perceptron answers."""
    losses: list[float]
    """Of each epoch."""
    held_out: Indices
    """Numbers of the examples that it has not seen."""
    error: float
    """Over these: the mean squared error, or with labels the share that is wrong; NaN of none."""
    epochs: int
    """After how many it was best."""

    def predict(self, x: Examples) -> NDArray[Any]:
        """Values, or labels; (n,)."""
        parts = [self.pipeline.predict(some) for some in _chunks(x, np.arange(len(x)))]
        return np.concatenate(parts)


def fit(
    x: Examples,
    y: Sequence[Any] | NDArray[Any],
    *,
    hidden: int | Sequence[int] = 64,
    activation: str = "logistic",
    learning_rate: float = 0.1,
    epochs: int = 200,
    batch_size: int = 200,
    alpha: float = 1e-4,
    patience: int = 10,
    test_size: float = 0.3,
    groups: Sequence[Any] | NDArray[Any] | None = None,
    seed: int = 0,
    on_epoch: Callable[[int, float], object] | None = None,
) -> Fit:
    """Fit a multilayer perceptron by stochastic gradient descent.

    Inputs are standardized; the loss is the squared error, or for labels the cross-entropy, each
    label weighing the same however many examples it has.

    Parameters
    ----------
    x
        (n, …), or anything with a length that gives ``x[indices]``.
    y
        (n,): floats to be predicted, or labels to be told apart.
    hidden
        Neurons of the hidden layer, or of each of several.
    activation
        Of the hidden neurons: ``logistic`` (the sigmoid), ``relu`` or ``tanh``.
    learning_rate, epochs, batch_size
        Of the descent, with Nesterov's momentum of 0.9.
    alpha
        L2 penalty of the weights, as scikit-learn has it.
    patience
        Stop after so many epochs without a lower loss over a tenth of the examples, kept aside;
        the best epoch's weights are kept. 0: all epochs, and learn from all.
    test_size
        Share that is held out, to be judged by; 0 is none.
    groups
        (n,): examples of one group stay together where some are held out or kept aside.
    seed
        The same one gives the same network.
    on_epoch
        Called after each with its number from 1 and the loss.

    Raises
    ------
    ValueError
        Where an argument can't be used, or the loss is no number.

    """
    from sklearn.pipeline import make_pipeline

    x, y = np.asarray(x) if isinstance(x, (list, tuple)) else x, np.asarray(y)
    groups = np.arange(len(y)) if groups is None else np.asarray(groups)
    if not len(x) == len(y) == len(groups):
        raise ValueError(f"{len(x)} examples, {len(y)} values and {len(groups)} groups: not alike")
    if epochs < 1 or batch_size < 1:
        raise ValueError(f"epochs={epochs}, batch_size={batch_size}: both are 1 or more")
    random = np.random.default_rng(seed)
    values = y.dtype.kind == "f"
    seen, held_out = split(groups, None if values else y, test_size, seed)
    learned, aside = seen, seen[:0]
    if patience:
        part, rest = split(groups[seen], None if values else y[seen], VALIDATION, seed)
        learned, aside = seen[part], seen[rest]
        if not values:  # of a label whose groups are all aside, nothing is known
            aside = aside[np.isin(y[aside], y[learned])]
    scaler = _scaler(x, random.permutation(learned))
    network = _network(values, hidden, activation, learning_rate, batch_size, alpha, seed)
    weights = None if values else _weights(y, learned)
    losses: list[float] = []
    best: tuple[float, int, Any] = (math.inf, 0, None)
    for epoch in range(1, epochs + 1):
        order = random.permutation(learned)[:MOST_AN_EPOCH]
        losses.append(_epoch(network, scaler, x, y, order, weights))
        if not math.isfinite(losses[-1]):
            raise ValueError(f"learning_rate={learning_rate:g} is too large: the loss is no number")
        now = _loss(network, scaler, x, y, aside, weights) if len(aside) else losses[-1]
        if now < best[0] - 1e-6 or not len(aside):
            best = (now, epoch, _copied(network))
        if on_epoch is not None:
            on_epoch(epoch, losses[-1])
        if epoch - best[1] >= patience > 0:
            break
    if best[2] is None:
        raise ValueError(f"learning_rate={learning_rate:g} is too large: the loss is no number")
    network.coefs_, network.intercepts_ = best[2]
    result = Fit(make_pipeline(scaler, network), losses, held_out, math.nan, best[1])
    if len(held_out):
        predicted = [result.pipeline.predict(some) for some in _chunks(x, held_out)]
        off = np.concatenate(predicted) - y[held_out] if values else None
        wrong = np.concatenate(predicted) != y[held_out] if off is None else off**2
        result.error = float(np.mean(wrong))
    return result


def split(
    groups: NDArray[Any], labels: NDArray[Any] | None, share: float, seed: int
) -> tuple[Indices, Indices]:
    """Numbers of examples to see and to hold out, whole groups of each label alike."""
    if not 0 <= share < 1:
        raise ValueError(f"test_size={share:g} is not in 0 … 1, without 1")
    random = np.random.default_rng(seed)
    names, first, of = np.unique(groups, return_index=True, return_inverse=True)
    kinds = np.zeros(len(names), int) if labels is None else labels[first]
    out = np.zeros(len(names), bool)
    for kind in np.unique(kinds):
        members = random.permutation(np.flatnonzero(kinds == kind))
        count = min(len(members) - 1, max(1, round(share * len(members)))) if share else 0
        out[members[:count]] = True
    return np.flatnonzero(~out[of]), np.flatnonzero(out[of])


def _scaler(x: Examples, learned: Indices) -> Any:
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler()
    for some in _chunks(x, learned[:MOST_AN_EPOCH]):
        scaler.partial_fit(some)
    return scaler


def _network(
    values: bool,
    hidden: int | Sequence[int],
    activation: str,
    learning_rate: float,
    batch_size: int,
    alpha: float,
    seed: int,
) -> Any:
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    layers = (hidden,) if isinstance(hidden, int) else tuple(hidden)
    if not layers or min(layers) < 1:
        raise ValueError(f"hidden={hidden} is not 1 or more neurons")
    if not learning_rate > 0:
        raise ValueError(f"learning_rate={learning_rate:g} is not above 0")
    kind = MLPRegressor if values else MLPClassifier
    return kind(
        hidden_layer_sizes=layers,
        activation=activation,
        solver="sgd",
        learning_rate_init=learning_rate,
        batch_size=batch_size,
        alpha=alpha,
        random_state=seed,
    )


def _weights(y: NDArray[Any], learned: Indices) -> dict[Any, float]:
    """What an example of each label weighs, so that all labels weigh the same; 1 on average."""
    names, counts = np.unique(y[learned], return_counts=True)
    return {
        name: len(learned) / (len(names) * count)
        for name, count in zip(names.tolist(), counts.tolist(), strict=True)
    }


def _epoch(
    network: Any,
    scaler: Any,
    x: Examples,
    y: NDArray[Any],
    order: Indices,
    weights: dict[Any, float] | None,
) -> float:
    """Go down once over the examples; the mean loss."""
    total, count = 0.0, max(1, math.ceil(len(order) / _chunk(x)))
    for some in np.array_split(order, count):
        more: dict[str, Any] = {}
        if weights is not None:
            more["sample_weight"] = np.array([weights[label] for label in y[some].tolist()])
            more["classes"] = np.array(sorted(weights))
        with warnings.catch_warnings(record=True) as said:  # too large a rate is told by the loss
            warnings.simplefilter("always")
            network.batch_size = min(network.batch_size, len(some))
            network.partial_fit(_flat(scaler, x, some), y[some], **more)
        if any("interrupted" in str(warning.message) for warning in said):
            raise KeyboardInterrupt  # which scikit-learn has made a warning of
        total += network.loss_ * len(some)
    return float(total / len(order))


def _loss(
    network: Any,
    scaler: Any,
    x: Examples,
    y: NDArray[Any],
    aside: Indices,
    weights: dict[Any, float] | None,
) -> float:
    """The mean loss over examples that were kept aside."""
    total = count = 0.0
    chunk = _chunk(x)
    for start in range(0, min(len(aside), MOST_AN_EPOCH), chunk):
        some = aside[start : start + chunk]
        given = _flat(scaler, x, some)
        if weights is None:
            total += float(np.sum((network.predict(given) - y[some]) ** 2))
            count += len(some)
            continue
        columns = np.searchsorted(network.classes_, y[some])
        right = network.predict_proba(given)[np.arange(len(some)), columns]
        weigh = np.array([weights[label] for label in y[some].tolist()])
        total -= float(np.sum(weigh * np.log(np.maximum(right, 1e-12))))
        count += float(np.sum(weigh))
    return total / max(count, 1e-12)


def _flat(scaler: Any, x: Examples, some: Indices) -> NDArray[Any]:
    return scaler.transform(np.asarray(x[some]).reshape(len(some), -1))  # type: ignore[no-any-return]


def _chunk(x: Examples) -> int:
    """How many examples are taken at once."""
    one = np.asarray(x[np.arange(min(1, len(x)))])
    return max(1, min(CHUNK, CHUNK_BYTES // max(1, one.nbytes)))


def _chunks(x: Examples, order: Indices) -> Iterator[NDArray[Any]]:
    chunk = _chunk(x)
    for start in range(0, len(order), chunk):
        some = order[start : start + chunk]
        yield np.asarray(x[some]).reshape(len(some), -1)


def _copied(network: Any) -> tuple[list[Any], list[Any]]:
    return [w.copy() for w in network.coefs_], [b.copy() for b in network.intercepts_]
