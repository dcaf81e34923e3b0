"A training on PyTorch's own data sets and loaders"
from threading import Lock
import pytest, torch
from torch.utils.data import DataLoader, Dataset, TensorDataset, WeightedRandomSampler
from icd_nb.data.loaders import LoaderData
from icd_nb.features.contrast import CRD
from icd_nb.losses import CE, KD, objective
from icd_nb.models import create_model
from icd_nb.trainer import Recipe, Speed, Student, evaluate, fit, fit_many

PLAIN = dict(device='cpu', speed=Speed.plain())

def pictures(n):
    g = torch.Generator().manual_seed(n)
    return TensorDataset(torch.randn(n, 3, 32, 32, generator=g), torch.arange(n) % 2)

def loader_data(kind):
    train, test = pictures(12), pictures(6)
    if kind == 'data sets': return LoaderData(train, test)
    return LoaderData(DataLoader(train, 4, shuffle=True), DataLoader(test, 6))

def student(**kw):
    return Student(create_model('resnet8', 2, seed=0), objective('icd_kd'), recipe=Recipe(2, bs=4), **kw)

def weights(st): return torch.cat([v.double().flatten() for v in st.model.state_dict().values()])

@pytest.mark.parametrize('kind', ['data sets', 'loaders'])
def test_a_training_that_was_stopped_goes_on(kind, tmp_path):
    data, teacher = loader_data(kind), create_model('resnet8', 2, seed=7)
    whole = fit(student(), data, teacher, **PLAIN)
    stopped, = fit_many([student(folder=tmp_path)], data, teacher, deadline=0, **PLAIN)
    assert (stopped.epoch, len(stopped.rows)) == (0, 1)
    again = fit(student(folder=tmp_path), loader_data(kind), teacher, **PLAIN)
    assert torch.equal(weights(again), weights(whole))
    assert evaluate(again.model, data, 'cpu')['top1'] == again.history[-1]['test_top1']

def test_contrast_needs_to_know_which_image_is_which():
    st = Student(create_model('resnet8', 2), CE() + CRD(), recipe=Recipe(1, bs=4))
    with pytest.raises(ValueError, match='Scores.index'):
        fit(st, loader_data('loaders'), create_model('resnet8', 2), **PLAIN)

def test_a_loader_as_data_is_answered():
    train = DataLoader(pictures(8), 4)
    for data in (train, (train, train), pictures(8)):
        with pytest.raises(ValueError, match='LoaderData'): fit(student(), data, **PLAIN)

@pytest.mark.parametrize('image', [7, 2]) # among those that are looked at before the training, or later
@pytest.mark.parametrize('method', ['ce', 'kd'])
@pytest.mark.parametrize('kind', ['data sets', 'loaders'])
def test_images_that_are_not_finite_are_the_cause(kind, method, image):
    data = loader_data(kind)
    train = data.train.dataset if kind == 'loaders' else data.train
    train.tensors[0][image] = float('nan')
    one = Student(create_model('resnet8', 2, seed=0), objective(method), recipe=Recipe(1, bs=4))
    teacher = create_model('resnet8', 2, seed=7) if method == 'kd' else None
    with pytest.raises(FloatingPointError, match='images: 1 of the 4 in this batch'): fit(one, data, teacher, **PLAIN)

def test_processes_that_load_the_first_batches_end():
    "a look at the teacher before the first step leaves no processes behind that load"
    import multiprocessing
    data = LoaderData(*[TensorDataset(torch.rand(320, 3, 16, 16), torch.arange(320) % 4) for _ in range(2)], workers=1)
    seen = []
    class Counts(CE):
        def forward(self, s, t, y):
            seen.append(len(multiprocessing.active_children()))
            return super().forward(s, t, y)
    before = len(multiprocessing.active_children())
    student = Student(create_model('resnet8', 4, seed=0), Counts() + KD(), recipe=Recipe(1, bs=32))
    fit(student, data, create_model('resnet8', 4, seed=1), device='cpu', speed=Speed.plain())
    assert {*seen} == {before+1}

class Own(Dataset):
    "A set of one's own that remembers what it has read, and has a lock"
    def __init__(self, x, noise=0.): self.x, self.noise, self.known, self.lock, self.read = x, noise, {}, Lock(), 0
    def __len__(self): return len(self.x)
    def __getitem__(self, i):
        with self.lock: self.read += 1
        self.known[i] = i
        return self.x[i] + self.noise*torch.randn(3, 32, 32), i % 2

class Twice(Own):
    def __getitem__(self, i): return 2*super().__getitem__(i)[0], i % 2

x, x_test = pictures(12).tensors[0], pictures(6).tensors[0]
def loader(**kw): return DataLoader(Own(x), 4, **kw)
CHANGES = {'images': lambda: (Own(-x), Own(x_test)), 'a late image': lambda: (Own(torch.cat([x[:8], -x[8:]])), Own(x_test)),
           'a late test image': lambda: (Own(x), Own(torch.cat([x_test[:3], -x_test[3:]]))), 'noise': lambda: (Own(x, 5.), Own(x_test)), 'code': lambda: (Twice(x), Own(x_test)),
           'drop_last': lambda: (loader(shuffle=True, drop_last=True), Own(x_test)), 'no shuffling': lambda: (loader(), Own(x_test)),
           'sampler': lambda: (loader(sampler=WeightedRandomSampler([1.]*12, 12)), Own(x_test)), 'batches': lambda: (DataLoader(Own(x), batch_sampler=[[0, 1, 2, 3]]*3), Own(x_test))}

@pytest.mark.parametrize('change', CHANGES)
def test_a_training_on_other_data_is_another(change, tmp_path):
    begun = LoaderData(Own(x), Own(x_test))
    fit_many([student(folder=tmp_path)], begun, create_model('resnet8', 2, seed=7), deadline=0, **PLAIN)
    with pytest.raises(ValueError, match='images.fingerprint'):
        fit(student(folder=tmp_path), LoaderData(*CHANGES[change]()), create_model('resnet8', 2, seed=7), **PLAIN)
    fit(student(folder=tmp_path), LoaderData(begun.train, begun.test), create_model('resnet8', 2, seed=7), **PLAIN) # they were read meanwhile
    assert LoaderData(begun.train, begun.test).fingerprint == begun.fingerprint
