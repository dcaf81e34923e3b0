"The GPU of a Mac on a machine without one: trainings, scores and choices give there what they give on the CPU"
import pytest, torch
from conftest import known
from torch.utils.data import TensorDataset
from icd_nb.cache import cache_teacher
from icd_nb.data.batches import toy_data
from icd_nb.data.loaders import LoaderData
from icd_nb.evaluation import evaluate
from icd_nb.hints import select_hints
from icd_nb.interpret.outputs import outputs
from icd_nb.losses import objective
from icd_nb.models import create_model
from icd_nb.pooling import multiscale_pool
from icd_nb.prediction import predict
from icd_nb.registry import all_methods
from icd_nb.scales import choose_scales
from icd_nb.speed import Speed
from icd_nb.trainer import Recipe, Student, fit
from pretended_mps import pretended

FP32 = Speed('fp32')
def net(name='resnet8'): return create_model(name, 4, seed=1)
def toy(size=32, n=12): return toy_data(n, 8, size, 4)

def trained(method, device, data=None, teacher=None, bs=12):
    "The loss of one epoch, term by term, and of the test"
    student = Student(net(), objective(method, **known(method, before_epochs=1)), recipe=Recipe(epochs=1, bs=bs))
    fit(student, data or toy(), teacher or net('resnet14'), device=device, speed=FP32)
    return [*student.history[0]['terms'].values(), student.history[0]['test_loss']]

METHODS = [o for o in all_methods() if not o.endswith('_hints')] # those ask for hints

def both(f):
    "What `f(device)` gives on the CPU and on the pretended device"
    cpu = f('cpu')
    with pretended(): return cpu, f('mps')

@pytest.mark.parametrize('method', METHODS)
def test_a_training_gives_the_same(method):
    "Each method: no double precision, no `channels_last`, no copies that go on by themselves"
    cpu, mps = both(lambda device: trained(method, device))
    assert mps == pytest.approx(cpu, rel=1e-2)

def of_loader():
    x, y = torch.randn(12, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 4
    return LoaderData(TensorDataset(x, y), TensorDataset(x, y))

def cached(device): return trained('icd_kd', device, teacher=cache_teacher(net('resnet14'), toy(), device=device, dtype=torch.float32, speed=FP32))

OTHERS = dict(maps_that_cells_do_not_divide=lambda device: trained('icd_kd', device, toy(56)), cached_teacher=cached,
              loader=lambda device: trained('icd_kd', device, of_loader()))

@pytest.mark.parametrize('name', OTHERS)
def test_other_trainings_give_the_same(name):
    cpu, mps = both(OTHERS[name])
    assert mps == pytest.approx(cpu, rel=1e-2)

def test_cells_of_every_map():
    "Of series, pictures and volumes, whether cells divide them or not"
    for shape in ((2, 3, 7), (2, 3, 7, 5), (2, 3, 5, 4, 3), (2, 3, 2, 2)):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        cpu, mps = both(lambda device: multiscale_pool(x.to(device), (1, 2, 4)).cpu())
        torch.testing.assert_close(mps, cpu)

def test_what_a_network_says():
    "Accuracy, predictions, outputs, the choice of scales and of hint points"
    data = toy(n=60)
    def said(device):
        scales = choose_scales(net(), data, device=device, batches=1).scales
        hints = select_hints(net().to(device), data, k=2, n=60, metric='linear_cka')
        return evaluate(net(), data, device), scales, repr(hints), outputs(net(), data, device=device).logits.tolist(), predict(net(), [0, 1], data, device=device)['class'].tolist()
    (*cpu, z, named), (*mps, z_mps, named_mps) = both(said)
    assert mps[0] == pytest.approx(cpu[0]) and (mps[1:], named_mps) == (cpu[1:], named)
    torch.testing.assert_close(torch.tensor(z_mps), torch.tensor(z))

def test_the_pretended_device_refuses():
    "What makes these tests: without it they would all pass"
    with pretended():
        x = torch.randn(2, 3, 7, 7).to('mps')
        with pytest.raises(TypeError, match='float64'): x.double()
        with pytest.raises(RuntimeError, match='divisible'): torch.nn.functional.adaptive_avg_pool2d(x, 4)
        with pytest.raises(RuntimeError, match='channels_last'): torch.nn.BatchNorm2d(3).to('mps')(x.to(memory_format=torch.channels_last))
        with pytest.raises(RuntimeError, match='non_blocking'): torch.ones(2).to('mps', non_blocking=True)
        with pytest.raises(RuntimeError, match='two devices'): x + torch.ones(7)
        with pytest.raises(ValueError, match="precision 'fp64'"): fit(Student(net(), recipe=Recipe(epochs=1, bs=12)), toy(), device='mps', speed=Speed('fp64'))
