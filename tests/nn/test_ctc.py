"""What frames say, against sums over all of their paths."""

from __future__ import annotations

import math
from collections import defaultdict
from itertools import product

import pytest
import torch
from torch import Tensor

from s2scli.nn.ctc import CTCHead, FrameScores, PrefixScores, needed_frames, next_token_scores

SYMBOLS = 3
END = SYMBOLS  # a symbol that no frame says
BLANK = SYMBOLS + 1
Text = tuple[int, ...]


def said(path: tuple[int, ...]) -> Text:
    """What a path says: of equal neighbours one is kept, and then no blank."""
    kept = [symbol for at, symbol in enumerate(path) if at == 0 or path[at - 1] != symbol]
    return tuple(symbol for symbol in kept if symbol != BLANK)


def texts_of(log_p: Tensor) -> dict[Text, float]:
    """The probability of each text that frames [S, V + 1] can say: a sum over all paths."""
    found: dict[Text, float] = defaultdict(float)
    for path in product((*range(SYMBOLS), BLANK), repeat=len(log_p)):
        found[said(path)] += math.exp(sum(log_p[at, symbol].item() for at, symbol in enumerate(path)))
    return found


def random_frames(size: int, seed: int) -> Tensor:
    """Log-probabilities [S, V + 1] in which the end symbol has none."""
    scores = 2 * torch.randn(
        size, BLANK + 1, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    scores[:, END] = float("-inf")
    return scores.log_softmax(-1)


def batch_of(sequences: list[Tensor]) -> FrameScores:
    """Frames of several sentences, with any numbers at padding."""
    size = max(map(len, sequences)) + 2
    scores = torch.full((len(sequences), size, BLANK + 1), -0.3, dtype=torch.float64)
    for row, sequence in enumerate(sequences):
        scores[row, : len(sequence)] = sequence
    mask = torch.arange(size) < torch.tensor([[len(item)] for item in sequences])
    return FrameScores.of(scores, mask)


def after(frames: FrameScores, prefix: Text) -> PrefixScores:
    """The scores of one prefix for every sentence."""
    prefixes = PrefixScores.empty(frames)
    for symbol in prefix:
        prefixes = prefixes.extended(frames, torch.full_like(prefixes.last, symbol))
    return prefixes


def close(found: float, probability: float) -> bool:
    """Whether a logarithm is that of a probability, to 1e-10."""
    return found == -math.inf if probability == 0 else abs(found - math.log(probability)) < 1e-10


SENTENCES = [random_frames(size, seed) for seed, size in enumerate((1, 4, 3, 5, 2))]


@pytest.mark.parametrize("prefix", [(), (0,), (1, 1), (0, 1), (2, 2, 0), (0, 0, 0), (1, 2, 1, 2)])
def test_prefixes_have_the_probabilities_of_all_texts_that_begin_so(prefix: Text) -> None:
    frames = batch_of(SENTENCES)
    prefixes = after(frames, prefix)
    ends, extended = prefixes.of_end(), prefixes.of_next(frames)
    for row, sentence in enumerate(SENTENCES):
        texts = texts_of(sentence)
        assert close(ends[row, 0].item(), texts.get(prefix, 0.0))
        for symbol in range(SYMBOLS):
            wanted = (*prefix, symbol)
            total = sum(p for text, p in texts.items() if text[: len(wanted)] == wanted)
            assert close(extended[row, 0, symbol].item(), total), (row, wanted)


def test_a_prefix_is_the_sum_of_itself_and_its_extensions() -> None:
    """The law on longer sentences than paths could be counted of: Σ_c ψ(g·c) + p(g) = ψ(g), to 1e-10."""
    generator = torch.Generator().manual_seed(9)
    sentences = [random_frames(size, 50 + size) for size in (400, 1, 37, 120)]
    frames = batch_of(sentences)
    prefixes = PrefixScores.empty(frames)
    before = torch.zeros(len(sentences), 1, dtype=torch.float64)  # ψ of the empty prefix
    for _ in range(30):
        extended = prefixes.of_next(frames)
        total = torch.logaddexp(extended.logsumexp(-1), prefixes.of_end())
        possible = before > -math.inf
        assert torch.allclose(total[possible], before[possible], atol=1e-10, rtol=0)
        assert (total[~possible] == -math.inf).all()
        chosen = torch.randint(SYMBOLS, (len(sentences), 1), generator=generator)
        before = extended.gather(2, chosen[..., None])[..., 0]
        prefixes = prefixes.extended(frames, chosen)


def test_next_tokens_are_a_distribution_whose_products_are_the_texts() -> None:
    frames = batch_of(SENTENCES)
    for text in [(), (2,), (0, 0), (1, 0, 2)]:
        total = torch.zeros(len(SENTENCES), dtype=torch.float64)
        for length in range(len(text) + 1):
            scores = next_token_scores(after(frames, text[:length]), frames, END)
            assert torch.allclose(scores.logsumexp(-1), torch.zeros(()).double(), atol=1e-12)
            total += scores[:, 0, text[length] if length < len(text) else END]
        for row, sentence in enumerate(SENTENCES):
            probability = texts_of(sentence).get(text, 0.0)
            if probability:
                assert close(total[row].item(), probability)
            else:
                assert total[row] == -math.inf


def test_after_what_no_path_says_the_end_is_certain() -> None:
    frames = batch_of([SENTENCES[0]])  # of one frame
    scores = next_token_scores(after(frames, (1, 1)), frames, END)[0, 0]
    assert scores[END] == 0
    assert (scores[:SYMBOLS] == -math.inf).all()


def test_sentences_join_and_leave_and_stay_what_they_are() -> None:
    ones, others = SENTENCES[:3], SENTENCES[3:]
    frames, prefixes = batch_of(ones), after(batch_of(ones), (0, 1))
    frames, prefixes = frames.join(batch_of(others)), prefixes.join(after(batch_of(others), (0, 1)))
    whole = batch_of(SENTENCES)
    for _ in range(2):
        expected = next_token_scores(after(whole, (0, 1)), whole, END)
        assert torch.allclose(next_token_scores(prefixes.cut(frames), frames, END), expected, atol=1e-12)
        rows = torch.tensor([4, 0, 2])
        frames, prefixes = frames.select(rows), prefixes.each(lambda item, rows=rows: item[rows])
        whole = batch_of([SENTENCES[row] for row in rows])
        if len(rows) == len(prefixes.last) and frames.blank.size(1) == 4:
            break
    assert frames.blank.size(1) == 4  # three frames, and one that is surely blank
    found = next_token_scores(prefixes.cut(frames).extended(frames, torch.full((3, 1), 2)), frames, END)
    assert torch.allclose(found, next_token_scores(after(whole, (0, 1, 2)), whole, END), atol=1e-12)


def test_the_loss_is_that_of_all_paths_and_what_cannot_be_said_is_counted() -> None:
    torch.manual_seed(2)
    head = CTCHead(6, BLANK).double()
    states = torch.randn(4, 5, 6, dtype=torch.float64, requires_grad=True)
    lengths = torch.tensor([5, 3, 3, 2])
    targets = [(0, 1), (2, 2), (1, 1, 0), (0, 1, 2)]
    ids = torch.zeros(4, 4, dtype=torch.long)
    for row, target in enumerate(targets):
        ids[row, : len(target)] = torch.tensor(target)
    loss, impossible = head.negative_log_likelihood(states, lengths, ids, torch.tensor([2, 2, 3, 3]))
    expected = 0.0
    for row, target in enumerate(targets[:2]):
        log_p = head(states[row, : lengths[row]]).log_softmax(-1).detach()
        paths = [path for path in product(range(BLANK + 1), repeat=len(log_p)) if said(path) == target]
        expected += -math.log(
            sum(math.exp(sum(log_p[at, item] for at, item in enumerate(path))) for path in paths)
        )
    # (1, 1, 0) needs four frames and has three; (0, 1, 2) has two.
    assert impossible.item() == 2
    assert loss.item() == pytest.approx(expected, abs=1e-5)
    loss.backward()
    assert states.grad is not None
    assert torch.isfinite(states.grad).all()
    assert not states.grad[2:].any()


def test_frames_that_a_target_needs() -> None:
    targets = torch.tensor([[5, 5, 6], [5, 6, 6], [7, 7, 7], [1, 2, 2]])
    assert needed_frames(targets, torch.tensor([3, 3, 3, 2])).tolist() == [4, 4, 5, 2]
