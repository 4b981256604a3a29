"""What encoders read of frames is what the formulas say of each sequence alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from s2scli.nn.frontends import ConvolutionalSubsampler, Frontend, LinearFrontend, PyramidFrontend

FEATURES = 6
FRONTENDS: dict[str, Callable[[], Frontend]] = {
    "linear": lambda: LinearFrontend(FEATURES, 10),
    "stacked": lambda: LinearFrontend(FEATURES, 10, stack=3),
    "convolutional": lambda: ConvolutionalSubsampler(FEATURES, 10, channels=8),
    "other kernels": lambda: ConvolutionalSubsampler(FEATURES, 10, channels=12, kernels=(3, 7, 5)),
    "pyramid": lambda: PyramidFrontend("lstm", FEATURES, 3, 2),
    "pyramid of GRUs": lambda: PyramidFrontend("gru", FEATURES, 3, 3),
}


def made(name: str) -> Frontend:
    torch.manual_seed(3)
    return FRONTENDS[name]().eval()


def alone(frontend: Frontend, frames: Tensor) -> Tensor:
    """What it gives of one sequence [S, F]."""
    x, lengths = frontend(frames[None], torch.tensor([len(frames)]))
    assert x.size(1) == lengths.item()
    return x[0]


@pytest.mark.parametrize("name", FRONTENDS)
@torch.inference_mode()
def test_a_sequence_does_not_depend_on_its_batch(name: str) -> None:
    frontend = made(name)
    lengths = [1 + 7 * number % 41 for number in range(64)]
    sequences = [torch.randn(length, FEATURES) for length in lengths]
    for rows in (8, 64):
        for start in range(0, 64, rows):
            chosen = sequences[start : start + rows]
            # What stands at padding is nobody's business.
            frames = torch.full((rows, max(map(len, chosen)) + 3, FEATURES), 1000.0)
            for row, sequence in enumerate(chosen):
                frames[row, : len(sequence)] = sequence
            x, shortened = frontend(frames, torch.tensor(lengths[start : start + rows]))
            for row, sequence in enumerate(chosen):
                expected = alone(frontend, sequence)
                assert shortened[row] == len(expected)
                assert torch.allclose(x[row, : len(expected)], expected, atol=1e-5), (rows, row)


@pytest.mark.parametrize("name", FRONTENDS)
@torch.inference_mode()
def test_how_long_the_output_is_is_known_beforehand(name: str) -> None:
    frontend = made(name)
    for length in range(1, 40):
        x, lengths = frontend(torch.randn(1, length, FEATURES), torch.tensor([length]))
        assert x.shape == (1, int(frontend.shortened(torch.tensor(length))), frontend.width)
        assert lengths.tolist() == [x.size(1)]
        assert x.size(1) >= 1


def gated_convolution(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """One convolution of stride 2 with a gate, written out; x [S, in], weight [2·out, in, k]."""
    outputs, _, kernel = weight.shape
    found = []
    for centre in range(0, len(x), 2):
        total = bias.clone()
        for offset in range(kernel):
            position = centre + offset - kernel // 2
            if 0 <= position < len(x):
                total += weight[:, :, offset] @ x[position]
        found.append(total[: outputs // 2] * torch.sigmoid(total[outputs // 2 :]))
    return torch.stack(found)


@pytest.mark.parametrize("name", ["convolutional", "other kernels"])
@torch.inference_mode()
def test_a_subsampler_is_gated_convolutions(name: str) -> None:
    frontend = made(name)
    for length in (1, 2, 3, 8, 17):
        frames = torch.randn(length, FEATURES)
        x = frames
        for item in frontend.convolutions:
            assert isinstance(item, nn.Conv1d)
            assert item.bias is not None
            x = gated_convolution(x, item.weight, item.bias)
        assert torch.allclose(alone(frontend, frames), x, atol=1e-5)


@torch.inference_mode()
def test_a_subsampler_has_the_sizes_of_fairseqs() -> None:
    frontend = ConvolutionalSubsampler(80, 256)
    assert [tuple(item.weight.shape) for item in frontend.convolutions] == [(1024, 80, 5), (512, 512, 5)]
    lengths = torch.arange(1, 2000)
    expected = [((length - 1) // 2 + 1 - 1) // 2 + 1 for length in lengths.tolist()]
    assert frontend.shortened(lengths).tolist() == expected


@torch.inference_mode()
def test_frames_side_by_side_are_one_vector() -> None:
    frontend = made("stacked")
    assert isinstance(frontend, LinearFrontend)
    frames = torch.randn(5, FEATURES)
    joined = torch.stack([frames[:3].flatten(), torch.cat([frames[3], frames[4], torch.zeros(FEATURES)])])
    expected = joined @ frontend.linear.weight.T + frontend.linear.bias
    assert torch.allclose(alone(frontend, frames), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["pyramid", "pyramid of GRUs"])
@torch.inference_mode()
def test_a_pyramid_is_torchs_networks_over_pairs_of_states(name: str) -> None:
    frontend = made(name)
    for length in (1, 2, 5, 8, 11):
        frames = torch.randn(length, FEATURES)
        x = frames[None]
        for layer in frontend.layers:
            states, _ = layer.network(x)
            if states.size(1) % 2:
                states = torch.cat([states, torch.zeros_like(states[:, :1])], dim=1)
            x = torch.cat([states[:, 0::2], states[:, 1::2]], dim=2)
        assert torch.allclose(alone(frontend, frames), x[0], atol=1e-5)


@pytest.mark.parametrize("name", FRONTENDS)
def test_positions_follow_each_other_by_the_stride(name: str) -> None:
    """What a position reads most is what stands where the stride says that it is: the gradient tells."""
    frontend = made(name)
    size = 8 * frontend.stride
    frames = torch.randn(1, size, FEATURES, requires_grad=True)
    x, _ = frontend(frames, torch.tensor([size]))
    assert x.size(1) == 8
    for position in (2, 3, 5):
        (gradient,) = torch.autograd.grad(x[0, position].square().sum(), frames, retain_graph=True)
        reads = gradient[0].square().sum(1)
        middle = (reads * torch.arange(size)).sum() / reads.sum()
        # A position stands for the frames from its first to the next position's first.
        assert abs(middle - (position + 0.5) * frontend.stride) <= frontend.stride, (position, middle)
