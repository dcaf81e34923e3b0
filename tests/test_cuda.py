"What only a real card can show: `pytest -m cuda`, some minutes; skipped where there is none"
import copy
from dataclasses import replace
import pytest, torch
from conftest import known
from icd_nb import cache
from icd_nb.cache import cache_teacher
from icd_nb.data import Augment, ImageData
from icd_nb.evaluation import evaluate
from icd_nb.fold import folded
from icd_nb.losses import CE, METHODS, Objective, Term, objective
from icd_nb.models import create_model
from icd_nb.speed import Speed, on_card
from icd_nb.trainer import Recipe, Student, fit_many

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device here, or not asked for with -m cuda')]
CARDS = [f'cuda:{i}' for i in range(max(torch.cuda.device_count(), 1))]

def noise(n, size, classes=10, **kw):
    g = torch.Generator().manual_seed(0)
    x, y = torch.randint(256, (n, size, size, 3), dtype=torch.uint8, generator=g), torch.arange(n) % classes
    return ImageData('noise', x, y, x[:64], y[:64], [str(i) for i in range(classes)], Augment(size, pad=1), **kw)

@pytest.fixture(scope='module')
def data(): return noise(80, 32)

def teacher(name='resnet14', classes=10): return create_model(name, classes, seed=0)

def student(method, bs=32, net='resnet8', epochs=1, model=None, **kw):
    hyper = dict(hints=['layer1.0', 'layer2.0']) if method.endswith('hints') else {}
    if 'crd' in method or method == 'wcord': hyper['negatives'] = 16
    recipe = Recipe(epochs=epochs, bs=bs, lr=2**-7)
    return Student(model or create_model(net, 10, seed=1), objective(method, **known(method, warmup=2, before_epochs=1), **hyper), recipe=recipe, name=method)

def ends(students, data, card, teacher, **speed):
    fit_many(students, data, teacher, device=card, speed=Speed(**speed))
    assert not [st.error for st in students if st.error]
    return {st.name: torch.cat([v.double().flatten() for v in st.model.state_dict().values()]).cpu() for st in students}

def start(method): return torch.cat([v.double().flatten() for v in student(method).model.state_dict().values()])

@pytest.mark.parametrize('card', CARDS)
def test_a_replayed_training_is_the_plain_one(data, card):
    "Every method, a short last batch, on every card; with random numbers"
    names = [*METHODS]
    a, b = (ends([student(m) for m in names], data, card, teacher(), precision='fp64', graph=graph) for graph in (True, False))
    far = {m: ((a[m]-b[m]).norm()/(a[m]-start(m)).norm()).item() for m in names}
    assert max(far.values()) < 1e-6, {m: v for m, v in far.items() if v >= 1e-6}

@pytest.mark.parametrize('taught', [True, False])
def test_a_student_that_asks_no_teacher(data, taught):
    "As a teacher is trained itself: no stream of a teacher's is in its recording"
    a, b = (ends([student('ce')], data, 'cuda', teacher() if taught else None, precision='fp64', graph=graph) for graph in (True, False))
    assert (a['ce']-b['ce']).norm() < 1e-6*(a['ce']-start('ce')).norm()

class Dropped(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = create_model('resnet8', 10, seed=1)
        self.net.fc = torch.nn.Sequential(torch.nn.Dropout(.5), self.net.fc)
    def forward(self, x): return self.net(x)

def test_replays_draw_what_the_plain_step_draws(data):
    def pair(): return [student('kd', model=Dropped()), student('mgd')]
    a, b = (ends(pair(), data, 'cuda', teacher(), precision='fp32', deterministic=True, graph=graph) for graph in (True, False))
    for m in a: assert (a[m]-b[m]).norm() <= 1e-4*(a[m].norm()), m

@pytest.mark.parametrize('graph', [True, False])
def test_deterministic_training_gives_the_same_bits(data, graph):
    a, b = (ends([student('icd_dkd'), student('kd')], data, 'cuda', teacher(), deterministic=True, graph=graph) for _ in range(2))
    for m in a: assert torch.equal(a[m], b[m]), m

def test_single_precision_is_single_precision(data):
    "With TF32 the two would be 1e-3 apart, and the teacher's batch norms would not be folded"
    model = teacher('resnet32x4').eval()
    with torch.no_grad(): here = model(torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    x = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with on_card(torch.device('cuda:0')), torch.no_grad():
        there = copy.deepcopy(model).cuda()
        assert (there(x.cuda()).cpu()-here).abs().max() < 1e-5*here.abs().max()
        assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded(there, x[:2].cuda()).modules())

class Reads(Term):
    name = 'reads'
    def forward(self, s, t, y): return s.logits.mean()*s.logits.detach().abs().max().item()

def test_what_waits_is_refused_and_the_process_goes_on(data):
    st = Student(create_model('resnet8', 10, seed=1), Objective(CE(), Reads()), recipe=Recipe(1, bs=32))
    with pytest.raises(ValueError, match='waits for the GPU .*test_cuda.py'): fit_many([st], data, teacher(), device='cuda')
    ends([student('kd')], data, 'cuda', teacher())

@pytest.mark.parametrize('on_host', [False, True])
def test_a_looked_up_teacher(data, on_host, monkeypatch):
    "On the card, and on the host with its rows sent ahead"
    if on_host: monkeypatch.setattr(cache, 'fits', lambda *args: False)
    table = cache_teacher(teacher(), data, device='cuda', speed=Speed('fp32'), dtype=torch.float32)
    assert table.table.device.type == ('cpu' if on_host else 'cuda')
    a, b = (ends([student('icd_kd')], data, 'cuda', t, precision='fp32') for t in (table, teacher()))
    assert (a['icd_kd']-b['icd_kd']).norm() <= 1e-3*(a['icd_kd']-start('icd_kd')).norm()

def test_mapped_images(data):
    a, b = (ends([student('kd')], d, 'cuda', teacher(), precision='fp32', deterministic=True) for d in (data, replace(data, mapped=True)))
    assert torch.equal(a['kd'], b['kd'])

def test_evaluation(data):
    here, there = (evaluate(teacher(), data, card) for card in ('cpu', 'cuda'))
    assert all(abs(here[k]-there[k]) < 1e-3 for k in here)

@pytest.mark.parametrize('size, bs, net', [(32, 64, 'ResNet50'), (224, 32, 'MobileNetV2')])
def test_nine_students_fit_into_the_card(size, bs, net):
    "Side by side as far as the memory goes; images of 224 would need more at once than many cards have"
    big = noise(2*bs, size)
    nine = [a+b for a in ('', 'sd_', 'icd_') for b in ('kd', 'dkd', 'nkd')]
    students = [Student(create_model(net, 10, image_size=size, seed=1), objective(m), recipe=Recipe(1, bs=bs, lr=.01), name=m) for m in nine]
    torch.cuda.reset_peak_memory_stats()
    fit_many(students, big, create_model('ResNet50', 10, image_size=size, seed=0), device='cuda')
    print(f'{net}, {size} px, nine students: {torch.cuda.max_memory_allocated()/2**30:.1f} GiB')
    assert torch.cuda.max_memory_reserved() < .95*torch.cuda.mem_get_info()[1]
