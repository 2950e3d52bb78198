"""QLoRA: LoRA on a base whose frozen weights are stored in 4 (or 8) bits.

Dettmers et al., "QLoRA: Efficient Finetuning of Quantized LLMs", NeurIPS 2023.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from edge_sdk.errors import InvalidOptionError
from export.learners.lora import Lora

if TYPE_CHECKING:
    from export.learners.base import LearnerOptions
    from export.stored_weights import WeightEncoding

_ENCODINGS: dict[int, WeightEncoding] = {4: "nf4", 8: "int8"}


class QLora(Lora):
    """State: as LoRA's, in float32; the base under it is decoded inside the graphs.

    Pre-training is LoRA's. The bundle then holds the adapted layers in `bits` bits a number (4:
    NF4 in blocks of 64; see `export.stored_weights`), the layers below them in int8 as every
    frozen graph, and on the device gradients flow through the decoded weights into the adapters.
    """

    name = "qlora"
    defaults: ClassVar[dict[str, int | float]] = {**Lora.defaults, "bits": 4}

    def __init__(self, options: LearnerOptions) -> None:
        super().__init__(options)
        bits = int(self.setting("bits"))
        if bits not in _ENCODINGS:
            msg = f"bits must be 4 or 8, got {bits}"
            raise InvalidOptionError(msg)
        self.bits = bits

    @property
    def weight_encoding(self) -> WeightEncoding:
        return _ENCODINGS[self.bits]
