"Heads of transformers, of other people's code and of several outputs; heads that are named"
from dataclasses import dataclass
import pytest, torch, torch.nn.functional as F
from torch import nn
from icd_nb.decoupling import Scorer, local_logits
from icd_nb.explicit import ExplicitHead
from icd_nb.logits import LogitsAt
from icd_nb.losses import objective
from icd_nb.models import create_model
from icd_nb.pooling import multiscale_pool
from icd_nb.trainer import Recipe, Speed, Student, fit
from test_features import noise

def images(h=32, w=32, n=2): return torch.randn(n, 3, h, w, generator=torch.Generator().manual_seed(1))

class Blocks(nn.Module):
    "Patches of 8×8, `before` tokens in front of them, two blocks, a norm"
    def __init__(self, before=1, C=16, linear=False):
        super().__init__()
        torch.manual_seed(0)
        self.patch = nn.Linear(3*64, C) if linear else nn.Conv2d(3, C, 8, 8)
        self.cls = nn.Parameter(torch.randn(1, before, C))
        self.blocks = nn.Sequential(*(nn.TransformerEncoderLayer(C, 2, 32, 0., batch_first=True) for _ in range(2)))
        self.norm = nn.LayerNorm(C)
    def forward(self, x):
        B, _, H, W = x.shape
        if isinstance(self.patch, nn.Conv2d): t = self.patch(x).flatten(2).transpose(1, 2)
        else: t = self.patch(x.reshape(B, 3, H//8, 8, W//8, 8).permute(0, 2, 4, 3, 5, 1).reshape(B, -1, 3*64))
        return self.norm(self.blocks(torch.cat([self.cls.expand(B, -1, -1), t], 1)))

class ViT(nn.Module):
    "A transformer whose head is fed by `read(tokens)`"
    def __init__(self, read, head=None, out=lambda z, t: z, **kw):
        super().__init__()
        self.body, self.read, self.out = Blocks(**kw), read, out
        self.head = head or nn.Linear(16, 10)
    def forward(self, x):
        t = self.body(x)
        return self.out(self.head(self.read(t)), t)

def check(model, x, grid, before, own, feed=None):
    "The cells of every scale by hand: patches averaged, then through the head; scale 1 is the model's own where `own`"
    model.eval()
    with torch.no_grad():
        scorer = Scorer(model, (1,2,4), chained=False)
        s, z = scorer(x), model(x)
        z = getattr(z, 'logits', z)
        fmap = model.body(x)[:,before:].transpose(1, 2).unflatten(2, grid)
        by_hand = torch.stack([model.head(c) for c in multiscale_pool(fmap, (1,2,4), chained=False).unbind(2)], 2)
    head, = scorer.heads.values()
    assert head.kind == ('by token grid' if own else 'exact') and tuple(head.grid) == grid
    assert torch.allclose(s.local[...,0], z, atol=1e-5) and torch.allclose(s.logits, z, atol=1e-5)
    assert torch.allclose(s.local[...,1:], by_hand[...,1:], atol=1e-5)
    assert torch.allclose(s.local[...,0], by_hand[...,0], atol=1e-5) != own

hidden = lambda: nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 10))
CLS = [lambda t: t[:,0], lambda t: t[:,0,:], lambda t: t[:,:1].flatten(1), lambda t: t.select(1, 0)]

@pytest.mark.parametrize('read', CLS)
@pytest.mark.parametrize('hw,grid', [((32, 32), (4, 4)), ((48, 24), (6, 3))])
def test_a_class_token(read, hw, grid):
    check(ViT(read), images(*hw), grid, 1, own=True)
    check(ViT(read, hidden(), before=5), images(*hw), grid, 5, own=True)
    check(ViT(read, before=2, linear=True), images(*hw), grid, 2, own=True)

@pytest.mark.parametrize('read', [lambda t: t[:,2:].mean(1), lambda t: torch.mean(t[:,2:], dim=1), lambda t: F.adaptive_avg_pool1d(t[:,2:].transpose(1, 2), 1).flatten(1)])
def test_averaged_patches(read):
    for kw in ({}, dict(linear=True), dict(head=hidden())): check(ViT(read, before=2, **kw), images(), (4,4), 2, own=False)

def test_a_mean_with_the_class_token():
    check(ViT(lambda t: t.mean(1)), images(), (4,4), 1, own=True)

class Two(nn.Module):
    "Two heads for two tokens, their scores averaged"
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(16, 10), nn.Linear(16, 10)
    def forward(self, ts): return (self.a(ts[0]) + self.b(ts[1]))/2 if isinstance(ts, tuple) else (self.a(ts) + self.b(ts))/2

def test_a_distillation_token():
    check(ViT(lambda t: (t[:,0], t[:,1]), Two(), before=2), images(), (4,4), 2, own=True)

@dataclass
class Output:
    logits:torch.Tensor
    hidden_states:tuple=()

OUTS = [lambda z, t: Output(z, (t,)), lambda z, t: dict(logits=z, pooled=z, tokens=t), lambda z, t: (t, z), lambda z, t: [z, dict(t=t)], lambda z, t: dict(scores=z, tokens=t)]

@pytest.mark.parametrize('out', OUTS)
@pytest.mark.parametrize('read', [CLS[0], lambda t: t[:,1:].mean(1)])
def test_outputs_of_several_parts(out, read):
    plain, several = ViT(read).eval(), ViT(read, out=out).eval()
    several.load_state_dict(plain.state_dict())
    assert torch.equal(local_logits(plain, images()), local_logits(several, images()))

def test_parts_that_could_both_be_logits():
    model = ViT(CLS[0], out=lambda z, t: (t[:,0], z)).eval()
    with pytest.raises(ValueError, match=r'several parts could be the logits: 0 \[2, 16\], 1 \[2, 10\]'): local_logits(model, images())
    assert local_logits(LogitsAt(model, 1), images()).shape == (2, 10, 21)

def test_models_that_return_tokens():
    with pytest.raises(ValueError, match=r'a tensor \[2, 17, 16\] instead of logits \[B,K\]; these are features'): local_logits(Blocks(), images())
    check_tokens = nn.Sequential(Blocks(before=0), nn.Linear(16, 10)) # scores of every token, averaged outside
    class Mean(nn.Module):
        def __init__(self): super().__init__(); self.net = check_tokens
        def forward(self, x): return self.net(x).mean(1)
    z = local_logits(Mean().eval(), images(), (1,4))
    assert torch.allclose(z[...,1:], check_tokens(images()).transpose(1, 2), atol=1e-5)

class Attention(nn.Module):
    "One query over all tokens, as in SigLIP"
    def __init__(self):
        super().__init__()
        self.query, self.attend = nn.Parameter(torch.randn(1, 1, 16)), nn.MultiheadAttention(16, 2, batch_first=True)
    def forward(self, t): return self.attend(self.query.expand(len(t), -1, -1), t, t)[0][:,0]

class Pools(ViT):
    def __init__(self, read): super().__init__(read, before=1)
    def score(self, t): return self.head(self.read(t))

@pytest.mark.parametrize('read,why', [(Attention(), 'one query attends to all of its tokens'), (lambda t: t.amax(1), 'never averages')])
def test_other_pooling_is_refused_or_named(read, why):
    model, x = Pools(read).eval(), images()
    with pytest.raises(ValueError, match=why): local_logits(model, x)
    named = ExplicitHead('body', 'score')
    with torch.no_grad():
        z, t = local_logits(model, x, (1,2), head=named), model.body(x)
        assert torch.allclose(z[...,0], model(x), atol=1e-6)
        corner = torch.cat([t[:,:1], t[:,[1 + 4*i + j for i in (2, 3) for j in (2, 3)]]], 1)
        assert torch.allclose(z[...,4], model.score(corner), atol=1e-5)
    model.explicit_head = named
    assert torch.allclose(local_logits(model, x, (1,2)), z, atol=1e-6)
    model.explicit_head = ExplicitHead('body', lambda m, t: m.head(t.mean(1)))
    with pytest.raises(ValueError, match='gives other logits for whole images'): local_logits(model, x)

@pytest.mark.parametrize('speed', [Speed.plain(), Speed('bf16'), Speed('fp32', compile='aot_eager')], ids=['plain', 'bf16', 'compiled'])
def test_named_heads_train(speed):
    def make(K=4):
        model = Pools(Attention())
        model.head = nn.Linear(16, K)
        model.explicit_head = ExplicitHead('body', 'score')
        return model
    for student, teacher in ((make(), create_model('resnet8', 4, seed=0)), (create_model('resnet8', 4, seed=0), make())):
        before = [p.clone() for p in student.parameters()]
        st = fit(Student(student, objective('icd_kd', (1,2)), (1,2), Recipe(epochs=1, bs=8, lr=.01)), noise(32), teacher, device='cpu', speed=speed)
        assert st.error is None and not all(torch.equal(a, b) for a, b in zip(before, student.parameters()))

class Drops(nn.Module):
    "Some patches are left out in training"
    def forward(self, t): return t[:,:9] if self.training else t

def test_dropped_patches_are_said():
    model = ViT(CLS[0])
    model.body.norm = nn.Sequential(model.body.norm, Drops())
    assert local_logits(model.eval(), images()).shape == (2, 10, 21)
    with pytest.raises(ValueError, match='read 0 rows of tokens of the shape .*dropped in training'): local_logits(model.train(), images())

@pytest.mark.parametrize('read', [CLS[0], lambda t: t[:,1:].mean(1), lambda t: (t[:,0], t[:,1])])
def test_autocast_and_compiled(read):
    model, x = ViT(read, Two(), before=2).eval(), images()
    scorer = Scorer(model)
    with torch.no_grad():
        s = scorer(x)
        with torch.autocast('cpu', torch.bfloat16): half = scorer(x)
        assert half.local.dtype == torch.float32 and (half.local - s.local).abs().max() < .1*s.local.abs().max()
        torch.compiler.reset()
        traced = torch.compile(scorer, backend='eager', fullgraph=True)(x)
    assert torch.allclose(traced.local, s.local, atol=1e-5)
