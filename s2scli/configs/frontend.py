"""The settings of what reads a source that is frames: spoken language, pictures, any sequence of vectors."""

from __future__ import annotations

from dataclasses import dataclass

from s2scli.configs.model import ModelConfig
from s2scli.configs.spec_augment import NAMED, SpecAugmentPolicy
from s2scli.errors import UsageError
from s2scli.schema import setting

FRONTENDS = ("convolutional", "linear")


@dataclass(frozen=True, kw_only=True)
class FrontendConfig(ModelConfig):
    """How frames become what an encoder reads; where the source is text these settings have no effect."""

    frontend: str = setting(
        "convolutional",
        "what makes an encoder's input of frames: gated convolutions of stride 2, as in fairseq's S2T, or a linear "
        "layer; a source of text has embeddings",
        choices=FRONTENDS,
    )
    conv_kernel_sizes: tuple[int, ...] = setting(
        (5, 5),
        "kernel widths of these convolutions, each of which halves the length",
        unit="frames",
        at_least=1,
        at_most=1001,
        needs="frontend=convolutional",
    )
    conv_channels: int = setting(
        1024,
        "channels between these convolutions, half of them gates",
        at_least=2,
        at_most=1_000_000,
        needs="frontend=convolutional",
    )
    frame_stack: int = setting(
        1,
        "frames side by side that the linear layer makes one position of",
        unit="frames",
        at_least=1,
        at_most=10_000,
        needs="frontend=linear",
    )
    specaugment: str = setting(
        "none",
        f"what training hides of frames: {', '.join(NAMED)} (Park et al. 2019), numbers F/mF/T/p/mT such as "
        f"{NAMED['ld']}, or none",
        training_only=True,
    )

    def most_frames(self, positions: int) -> int:
        """The most frames that become no more than so many positions."""
        return (
            self.frame_stack * positions
            if self.frontend == "linear"
            else positions << len(self.conv_kernel_sizes)
        )

    def check_frontend(self) -> None:
        """UsageError for convolutions that cannot be, and for a policy that is none."""
        if not self.conv_kernel_sizes or any(size % 2 == 0 for size in self.conv_kernel_sizes):
            raise UsageError(
                f"model.conv_kernel_sizes = {self.conv_kernel_sizes}: one at least, and each of them odd: it reaches "
                "as far to either side"
            )
        if self.conv_channels % 2:
            raise UsageError(
                f"model.conv_channels = {self.conv_channels} must be even: half of them are gates"
            )
        if self.specaugment != "none":
            SpecAugmentPolicy.of(self.specaugment)

    @property
    def spec_augment_policy(self) -> SpecAugmentPolicy | None:
        """What training hides, if anything."""
        return None if self.specaugment == "none" else SpecAugmentPolicy.of(self.specaugment)
