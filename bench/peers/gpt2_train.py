"""GPT-2's train step in PyTorch, as bench line train-gpt2 of phlox does it: torch.compile, bfloat16 autocast, fused AdamW.
usage: gpt2_train.py [steps] [batch] [length]   prints tokens/s, the time of the first step and the peak of memory."""
import math
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

STEPS, BATCH, LENGTH = (int(x) for x in (sys.argv[1:] + ["60", "16", "1024"][len(sys.argv) - 1:]))
VOCABULARY, WIDTH, LAYERS, HEADS = 50304, 768, 12, 12


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.c_attn, self.c_proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.c_fc, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = (p.view(b, t, HEADS, d // HEADS).transpose(1, 2) for p in self.c_attn(self.ln_1(x)).split(d, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.c_proj(y.transpose(1, 2).reshape(b, t, d))
        return x + self.down(F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))


class Gpt2(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.h = nn.ModuleList(Block() for _ in range(LAYERS))
        self.ln_f = nn.LayerNorm(WIDTH)
        for name, p in self.named_parameters():
            if p.dim() > 1:
                nn.init.normal_(p, 0, 0.02 / math.sqrt(2 * LAYERS) if "c_proj" in name or "down" in name else 0.02)

    def forward(self, tokens, targets):
        x = self.wte(tokens) + self.wpe.weight[: tokens.size(1)]
        for b in self.h:
            x = b(x)
        scores = F.linear(self.ln_f(x), self.wte.weight)
        return F.cross_entropy(scores.view(-1, VOCABULARY), targets.view(-1))


torch.manual_seed(1)
torch.set_float32_matmul_precision("high")
model = Gpt2().cuda()
optimizer = torch.optim.AdamW(model.parameters(), lr=6e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
compiled = torch.compile(model)


def step(x, y):
    with torch.autocast("cuda", dtype=torch.bfloat16):
        loss = compiled(x, y)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss


x = torch.randint(4096, (BATCH, LENGTH), device="cuda")
y = torch.randint(4096, (BATCH, LENGTH), device="cuda")
begin = time.time()
step(x, y).item()
first = time.time() - begin
for _ in range(10):
    step(x, y)
torch.cuda.synchronize()
begin = time.time()
for _ in range(STEPS):
    step(x, y)
torch.cuda.synchronize()
each = (time.time() - begin) / STEPS
print('{"peer": "torch %s compiled", "tokens_s": %.0f, "ms": %.2f, "first_s": %.1f, "peak_gib": %.2f}'
      % (torch.__version__, BATCH * LENGTH / each, each * 1e3, first, torch.cuda.max_memory_allocated() / 2**30))
