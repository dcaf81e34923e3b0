"The fast ways to compute a step compute the same step"
import warnings
import pytest, torch
from conftest import known
from icd_nb.data import Augment, ImageData
from icd_nb.losses import objective
from icd_nb.models import create_model
from icd_nb.trainer import Recipe, Speed, Student, fit_many

METHODS = 'kd', 'dkd', 'nkd', 'icd_kd'
PAIRS = ('wrn_16_2', 'MobileNetV2'), ('vgg8', 'ShuffleV2')
SMALL = ('resnet20', 'resnet8'), ('wrn_16_1', 'vgg8') # compiling takes its time

@pytest.fixture(scope='module')
def data():
    g = torch.Generator().manual_seed(0)
    x, y = torch.randint(256, (24, 32, 32, 3), dtype=torch.uint8, generator=g), torch.arange(24)%10
    return ImageData('noise', x, y, x[:8], y[:8], [str(i) for i in range(10)], Augment(32, pad=4))

def train(data, teacher, student, methods, speed):
    "Each parameter and statistic of each student before and after an epoch of three steps"
    students = [Student(create_model(student, 10, seed=1), objective(m, **known(m, warmup=2)), recipe=Recipe(epochs=1, bs=8, lr=.01), name=m) for m in methods]
    before = [torch.cat([v.double().flatten() for v in st.model.state_dict().values()]) for st in students]
    fit_many(students, data, create_model(teacher, 10, seed=0), device='cpu', speed=speed)
    after = [torch.cat([v.double().flatten() for v in st.model.state_dict().values()]) for st in students]
    return students, before, after

def check_same(data, pair, methods, **fast):
    plain = train(data, *pair, methods, Speed.plain('fp64'))
    quick = train(data, *pair, methods, Speed('fp64', **fast))
    for st, start, a, b in zip(plain[0], plain[1], plain[2], quick[2]):
        assert not torch.equal(start, a)
        assert (a-b).norm() <= 1e-7*(a-start).norm(), f"{st.name}: three steps differ by {(a-b).norm()/(a-start).norm():.1e} of their length"
    return quick[0]

@pytest.mark.parametrize('pair', PAIRS, ids='-'.join)
def test_fast_is_plain(data, pair):
    "channels_last and the fused optimizer"
    check_same(data, pair, METHODS)

@pytest.mark.parametrize('pair', SMALL, ids='-'.join)
def test_compiled_is_plain(data, pair):
    "what `torch.compile` hands to its backend: scores, losses and gradients as whole graphs"
    with warnings.catch_warnings():
        warnings.simplefilter('error') # a graph that is not compiled at last says so in a warning
        students = check_same(data, pair, ('kd', 'dkd', 'nkd', 'icd_nkd'), compile='aot_eager')
    assert all(st.piece and st.compile_seconds > 0 for st in students)

def test_a_finished_training_is_compiled_again_without_a_step(data, tmp_path):
    "Whose learning rate has no value beyond its last epoch"
    def end():
        st = Student(create_model('resnet8', 10, seed=1), objective('kd'), recipe=Recipe(epochs=1, bs=8, lr=.01, schedule='cosine'), name='kd', folder=tmp_path)
        fit_many([st], data, create_model('resnet8', 10, seed=0), device='cpu', speed=Speed('fp32', compile='aot_eager'))
        return [v.clone() for v in st.model.state_dict().values()]
    assert all(map(torch.equal, end(), end()))
