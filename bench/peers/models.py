"""The models of bench/models.hpp in PyTorch, with the same train step."""
import torch
import torch.nn as nn
import torch.nn.functional as F


class Cnn(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(64, 128, 3, padding=1), nn.BatchNorm2d(128), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Dropout(0.25), nn.Linear(6272, 128), nn.ReLU(), nn.Linear(128, 10))


class Block(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.up, self.down = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def forward(self, x):
        batch, length, d = x.shape
        q, k, v = (t.reshape(batch, length, self.heads, d // self.heads).transpose(1, 2)
                   for t in self.qkv(self.norm1(x)).chunk(3, -1))
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        h = x + self.out(a.transpose(1, 2).reshape(batch, length, d))
        return h + self.down(F.gelu(self.up(self.norm2(h))))


class Gpt(nn.Module):
    def __init__(self, vocabulary, d, layers, heads, context):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, d), nn.Embedding(context, d)
        self.blocks = nn.ModuleList(Block(d, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(d)
        self.register_buffer("places", torch.arange(context))
        nn.init.normal_(self.tokens.weight, 0, 0.02)
        nn.init.normal_(self.positions.weight, 0, 0.02)

    def forward(self, ids):
        h = self.tokens(ids) + self.positions(self.places)
        for block in self.blocks:
            h = block(h)
        return F.linear(self.norm(h), self.tokens.weight)


class Training:
    """A model, its optimizer, one batch, and the step. Compiled: the model with its loss, whose backward pass goes along;
    torch.compile does not take backward() and the optimizer into the same graph."""

    def __init__(self, model, x, y, samples, compiled):
        self.model, self.x, self.y, self.samples = model, x, y, samples
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01, fused=True)
        self.loss = torch.compile(self._loss) if compiled else self._loss

    def _loss(self, x, y):
        scores = self.model(x)
        return F.cross_entropy(scores.reshape(-1, scores.size(-1)), y.reshape(-1))

    def step(self, x, y):
        loss = self.loss(x, y)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()


def training(line, mode):
    """mode: eager or compiled, with channels_last or without."""
    compiled = mode.startswith("compiled")
    if line.startswith("cnn"):
        model, x = Cnn(), torch.randn(128, 1, 28, 28)
        if mode.endswith("channels_last"):
            model, x = model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
        return Training(model, x, torch.randint(10, (128,)), 128, compiled)
    if mode.endswith("channels_last"):
        return None
    if line.startswith("gpt-"):
        ids = lambda: torch.randint(256, (16, 128))
        return Training(Gpt(256, 192, 6, 6, 128), ids(), ids(), 16 * 128, compiled)
    if line.startswith("gpt2-"):
        ids = lambda: torch.randint(50304, (1, 64))
        return Training(Gpt(50304, 768, int(line.split("-")[1]), 12, 64), ids(), ids(), 64, compiled)
    return None
