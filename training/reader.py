"""The reader: (question, window of sentences) -> does it answer, and with which sentence.

One pass reads the question and a window of several sentences together, then pools each sentence's
tokens into one logit. So every pass is supervised (and at question time answers) for all of its
sentences at once, and a sentence is judged with its neighbours in view.

Owns: the network, its weights' file, packing token ids into its input. Refuses to know: losses, data.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from transformers import AutoModel, AutoTokenizer

QUESTION = -1  # in `parts`: 0 = special or padding, QUESTION, 1.. = sentence number


@dataclass(frozen=True)
class Packed:
    """Token ids (B, L), attention mask (B, L) and parts (B, L), all int64."""

    ids: torch.Tensor
    mask: torch.Tensor
    parts: torch.Tensor


class Packer:
    """Token ids of question and sentences -> one sequence; sentences are tokenised once.

    A question is cut at 40 tokens. A sequence that passes `limit` loses sentences from the end
    that is further from `keep` (the sentence the window was built around), then tokens.
    """

    def __init__(self, model: str, limit: int = 144) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(model)
        self.limit = limit
        self.start = self.tokenizer.cls_token_id
        self.stop = self.tokenizer.sep_token_id
        # RoBERTa-like models (mpnet) were pre-trained with two separators between texts.
        self.middle = [self.stop] * (2 if self.tokenizer.cls_token == "<s>" else 1)
        self.pad = self.tokenizer.pad_token_id
        self._known: dict[str, list[int]] = {}

    def tokens(self, text: str) -> list[int]:
        """Token ids of a text without special tokens, cut at the limit."""
        if text not in self._known:
            self._known[text] = self.tokenizer(text, add_special_tokens=False, truncation=True, max_length=self.limit)[
                "input_ids"
            ]
        return self._known[text]

    def pack_one(self, question: str, sentences: list[str], keep: int) -> tuple[list[int], list[int], int, int]:
        """Ids, parts, and the (first, last) of `sentences` that fitted; parts count from first."""
        asked = self.tokens(question)[:40]
        room = self.limit - len(asked) - 2 - len(self.middle)
        pieces = [self.tokens(s) for s in sentences]
        first, last = 0, len(pieces) - 1
        while first < last and sum(map(len, pieces[first : last + 1])) > room:
            if last - keep >= keep - first:
                last -= 1
            else:
                first += 1
        ids, parts = [self.start, *asked, *self.middle], [0, *[QUESTION] * len(asked)]
        parts += [0] * len(self.middle)
        for number, piece in enumerate(pieces[first : last + 1], start=1):
            piece = piece[: room if first == last else None]
            ids += piece
            parts += [number] * len(piece)
        return [*ids, self.stop], [*parts, 0], first, last

    def batch(self, rows: list[tuple[list[int], list[int]]], multiple: int = 1) -> Packed:
        """Pads (ids, parts) to the longest, rounded up to a multiple."""
        width = -(-max(len(ids) for ids, _ in rows) // multiple) * multiple
        ids = torch.full((len(rows), width), self.pad)
        parts = torch.zeros_like(ids)
        mask = torch.zeros_like(ids)
        for i, (row, part) in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
            parts[i, : len(row)] = torch.tensor(part)
            mask[i, : len(row)] = 1
        return Packed(ids, mask, parts)


class Reader(nn.Module):  # type: ignore[misc]
    """Backbone, a logit a sentence, and a logit a passage.

    sentence logit = a x cosine(question, sentence) + b + MLP(sentence, question, product)
    passage logit = logsumexp of the sentence logits + MLP(first token)
    The MLPs' last layers start at zero: an untrained reader ranks by the cosine of pooled tokens,
    which a sentence-transformers backbone already makes meaningful.
    """

    def __init__(self, backbone: str, hidden: int = 256, layers: int | None = None) -> None:
        super().__init__()
        self.backbone = AutoModel.from_pretrained(backbone, add_pooling_layer=False, dtype=torch.float32)
        if layers is not None:
            self.backbone.encoder.layer = self.backbone.encoder.layer[:layers]
            self.backbone.config.num_hidden_layers = layers
        self.typed = self.backbone.config.model_type == "bert"
        width = self.backbone.config.hidden_size
        self.sentence = nn.Sequential(
            nn.LayerNorm(3 * width), nn.Linear(3 * width, hidden), nn.GELU(), nn.Linear(hidden, 1)
        )
        self.passage = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, 1))
        for head in (self.sentence, self.passage):
            nn.init.zeros_(head[-1].weight)
            nn.init.zeros_(head[-1].bias)
        self.scale = nn.Parameter(torch.tensor(8.0))
        self.bias = nn.Parameter(torch.tensor(-4.0))

    def freeze(self, layers: int) -> None:
        """No gradient for the embeddings and the first `layers` layers (a third of the cost at 6).

        Their matrices become bfloat16, what autocast would make of them in every pass.
        """
        frozen = [self.backbone.embeddings, *self.backbone.encoder.layer[:layers]]
        for module in frozen if layers else []:
            for parameter in module.parameters():
                parameter.requires_grad_(False)
            for part in module.modules():
                if isinstance(part, nn.Linear):
                    part.bfloat16()

    def forward(
        self, ids: torch.Tensor, mask: torch.Tensor, parts: torch.Tensor, sentences: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Sentence logits (B, `sentences`), -1e4 where there is no such sentence; passage logits (B,)."""
        if self.typed:
            out = self.backbone(ids, attention_mask=mask, token_type_ids=(parts > 0).long())
        else:
            out = self.backbone(ids, attention_mask=mask)
        hidden = out.last_hidden_state.float()
        numbers = torch.arange(1, sentences + 1, device=parts.device).view(1, -1, 1)
        member = (parts.unsqueeze(1) == numbers).to(hidden.dtype)
        count = member.sum(dim=2, keepdim=True)
        pooled = member @ hidden / count.clamp(min=1.0)
        asked = (parts == QUESTION).to(hidden.dtype).unsqueeze(1)
        question = asked @ hidden / asked.sum(dim=2, keepdim=True).clamp(min=1.0)
        question = question.expand_as(pooled)
        near = F.cosine_similarity(pooled, question, dim=2)
        features = torch.cat([pooled, question, pooled * question], dim=2)
        logits = self.scale * near + self.bias + self.sentence(features).squeeze(2)
        logits = torch.where(count.squeeze(2) > 0, logits, torch.full_like(logits, -1e4))
        passage = torch.logsumexp(logits, dim=1) + self.passage(hidden[:, 0]).squeeze(1)
        return logits, passage


def load_reader(backbone: str, weights: Path, layers: int | None = None) -> Reader:
    """A reader with the weights of `reader.pt`, or of a checkpoint."""
    model = Reader(backbone, layers=layers)
    state = torch.load(weights, map_location="cpu", weights_only=False)
    model.load_state_dict(state.get("model", state))
    model.eval()
    return model
