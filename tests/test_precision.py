"bfloat16 where it is harmless: the gradient with respect to the scores, on the teacher that is shipped"
from itertools import islice
import pytest, torch
from conftest import ROOT
from icd_nb.data import load_data, train_batches
from icd_nb.decoupling import Scorer
from icd_nb.scores import Scores
from icd_nb.losses import objective
from icd_nb.models import create_model, load_weights

@pytest.fixture(scope='module')
def batches():
    "Two batches with what teacher and student say of them, in single precision and in bfloat16"
    data = load_data('minibirds')
    teacher = load_weights(create_model('resnet14', 20), ROOT/'teachers'/'minibirds-resnet14.safetensors').eval()
    student = create_model('resnet8', 20, seed=1).train()
    @torch.no_grad()
    def said(model, x, half):
        with torch.autocast('cpu', torch.bfloat16, enabled=half): return Scorer(model)(x)
    return [(b.y, {half: (said(student, b.x, half), said(teacher, b.x, half)) for half in (False, True)})
            for b in islice(train_batches(data, 64, device='cpu'), 2)]

def gradient(method, s, t, y):
    z, local = (o.detach().clone().requires_grad_() for o in (s.logits, s.local))
    total, _ = objective(method)(Scores(z, local, s.scales), t, y)
    return torch.cat([o.flatten() for o in torch.autograd.grad(total, (z, local), allow_unused=True) if o is not None])

@pytest.mark.parametrize('method', ['kd', 'sd_kd', 'icd_kd', 'sd_dkd', 'icd_dkd', 'sd_nkd'])
def test_gradient_in_bfloat16(method, batches):
    off = []
    for y, said in batches:
        exact, half = (gradient(method, *said[o], y) for o in (False, True))
        off.append(((half-exact).norm()/exact.norm()).item())
    assert 0 < sum(off)/len(off) <= .05, off

def test_scores_are_in_single_precision(batches):
    for _, said in batches:
        for s in said[True]: assert s.logits.dtype == s.local.dtype == torch.float32
