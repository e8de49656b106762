"""A model over token ids: inputs in batches of one length each."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..schema import Floats, Rows, TokenStore
from .batches import Batch, choose_schedule, fill_batch, length_batches
from .device import DeviceConfig
from .int8.quantise import is_int8
from .layout import find_layout
from .token_model import Forward, TokenModel

_INT8_BATCH_TOKENS = 2048  # more do not fit a core's own cache


class BatchRunner:
    """Runs a model over inputs of one or two texts, longest first, in batches of one length each.

    `max_tokens` is the number of tokens that it reads of each text, whatever the length of the other.
    """

    def __init__(self, model: TokenModel, precision: str, device: DeviceConfig) -> None:
        """Use a model in the precision that `apply_precision` returned."""
        assert model.tokenizer is not None, "only models with a tokenizer read token ids"
        int8 = is_int8(precision)
        self.forward: Forward = model
        self.batch_factor = device.batch_factor
        self._schedule = choose_schedule(device.device, int8=int8)
        self._batch_tokens = min(device.batch_tokens, _INT8_BATCH_TOKENS) if int8 else device.batch_tokens
        self._layout = find_layout(model.tokenizer, model.texts_per_input)
        self._max_length = model.max_length
        self.max_tokens = (model.max_length - self._layout.n_special) // model.texts_per_input

    def run(
        self, tokens: TokenStore, rows: tuple[Rows, ...], put: Callable[[Batch, Floats], None], *, fill: bool
    ) -> Iterator[int]:
        """Run the model over inputs; yield the size of each finished batch.

        Input i has the texts of `tokens` at position i of each array in `rows`. `put` gets the positions of a
        batch and its outputs, in the thread that computed them. With `fill` the outputs of an input do not
        depend on the other inputs, to the bit; without it few inputs take less time.
        """
        lengths = self._layout.lengths(tokens, rows, self._max_length)
        fill = fill and self.forward.needs_filling

        def run_batch(batch: Batch) -> None:
            filled = fill_batch(batch, int(lengths[batch[0]]), self._batch_tokens) if fill else batch
            texts = tuple(row[filled] for row in rows)
            ids, types = self._layout.assemble(tokens, texts, self._max_length)
            put(batch, self.forward.run(ids, types)[: len(batch)])

        yield from self._schedule(length_batches(lengths, self._batch_tokens), run_batch)
