"Networks whose weights are complex, or computed in each pass: trained, in a file, looked at"
import pytest, torch
from torch import nn
from torch.nn.utils import prune
from icd_nb.data import load_data
from icd_nb.features.layers import layouts
from icd_nb.hints.blocks import output_shapes
from icd_nb.losses import objective
from icd_nb.models import cost, load_weights
from icd_nb.trainer import Recipe, Student, fit

class Filter(nn.Module):
    "It begins with weights of frequencies, as global filter networks do"
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(3, 32, 17, dtype=torch.complex64))
        self.register_buffer('turn', torch.exp(1j*torch.linspace(0, 3, 17)))
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 4), nn.BatchNorm2d(8), nn.ReLU())
        self.fc = nn.Linear(8, 20)
    def forward(self, x):
        x = torch.fft.irfft2(torch.fft.rfft2(x)*self.w*self.turn)
        self.seen = self.body(x) # kept, with all that it was computed from
        return self.fc(self.seen.mean((2,3)))

def pruned():
    model = Filter()
    for m in (model.body[0], model.fc): prune.l1_unstructured(m, 'weight', .5)
    return model

@pytest.fixture(scope='module')
def birds(): return load_data('minibirds').subset(64, 32)

def student(make, optimizer, **kw):
    torch.manual_seed(0)
    recipe = Recipe(epochs=2, bs=32, lr=.01, optimizer=optimizer)
    return Student(make(), objective('icd_kd', scales=(1,2)), recipe=recipe, **kw)

@pytest.mark.parametrize('make', [Filter, pruned])
@pytest.mark.parametrize('optimizer', ['sgd', 'adamw'])
def test_it_is_trained_and_goes_on(make, optimizer, birds, tmp_path):
    torch.manual_seed(1)
    teacher = Filter()
    whole = fit(student(make, optimizer), birds, teacher=teacher)
    assert whole.model.w.imag.abs().sum() > 0
    assert torch.equal(whole.model.turn, Filter().turn)
    def stop(*_): raise KeyboardInterrupt
    kept = student(make, optimizer, folder=tmp_path/'run')
    with pytest.raises(KeyboardInterrupt): fit(kept, birds, teacher=teacher, on_epoch=stop)
    again = fit(student(make, optimizer, folder=tmp_path/'run'), birds, teacher=teacher)
    same = again.model.state_dict()
    assert all(torch.equal(same[k], v) for k, v in whole.model.state_dict().items())
    loaded = load_weights(make(), tmp_path/'run'/'student.safetensors')
    assert torch.equal(loaded.w, whole.model.w)
    again.export(tmp_path/'a.pt2') # is read back and compared

@pytest.mark.parametrize('make', [Filter, pruned])
def test_it_is_looked_at(make):
    model, x = make().double(), torch.randn(2, 3, 32, 32)
    model(x.double())
    assert output_shapes(model, x)['body'] == (8, 8, 8)
    assert layouts(model, x, ['body'])['body']
    assert cost(model)['flops'] > 0

def test_it_teaches_after_it_was_used(birds):
    teacher = pruned()
    teacher(torch.randn(2, 3, 32, 32)) # what it computed its results from stands in it
    assert fit(student(Filter, 'sgd'), birds, teacher=teacher).done
