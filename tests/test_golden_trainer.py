"24 steps of the official trainer, warm-up and drops of the learning rate included, end in the same weights as ours (numbers only, float64)"
import zlib
from pathlib import Path
import numpy as np
import pytest
import torch
from conftest import known
from icd_nb.data import Augment, ImageData
from icd_nb.data.cifar100 import CIFAR100_AUGMENT
from icd_nb.losses import objective
from icd_nb.models import create_model
from icd_nb.trainer import Recipe, Speed, Student, fit

GOLDEN = np.load(Path(__file__).parent/'golden'/'trainer_public.npz')
METHODS = sorted(k.split('/')[1] for k in GOLDEN.files if k.startswith('resnet14-resnet8/'))

def filled(name):
    "A network whose weights follow from the names of its tensors alone"
    model = create_model(name, 20).double()
    for key, v in model.state_dict().items():
        r = np.random.RandomState(zlib.crc32(key.encode()))
        if key.endswith('num_batches_tracked'): new = np.zeros(())
        elif key.endswith('running_mean'): new = .1*r.randn(*v.shape)
        elif key.endswith('running_var'): new = 1+.5*r.rand(*v.shape)
        elif v.ndim == 1 and key.endswith('weight'): new = 1+.1*r.randn(*v.shape)
        elif key.endswith('bias'): new = .1*r.randn(*v.shape)
        else: new = r.randn(*v.shape)*np.sqrt(2/np.prod(v.shape[1:]))
        v.copy_(torch.as_tensor(new))
    return model

@pytest.fixture(scope='module')
def data():
    x, y = (torch.from_numpy(GOLDEN[k]) for k in 'xy')
    return ImageData('golden', x, y.long(), x[:2], y[:2].long(), [str(i) for i in range(20)],
                     Augment(32, 0, False, CIFAR100_AUGMENT.mean, CIFAR100_AUGMENT.std))

@pytest.mark.parametrize('speed', [Speed.plain('fp64'), Speed('fp64')], ids=['plain', 'fast'])
@pytest.mark.parametrize('method', METHODS)
def test_the_official_trainer(method, speed, data):
    hyper = {} if method.endswith('_kd') or method == 'kd' else dict(dkd_beta=8., warmup=20)
    recipe = Recipe(epochs=24, bs=24, lr=.05, drops=(15/24, 18/24, 21/24), clip=40.)
    student = Student(filled('resnet8'), objective(method, gamma=2., **known(method, **hyper)), recipe=recipe)
    fit(student, data, filled('resnet14'), device='cpu', speed=speed)
    ours = torch.cat([p.detach().flatten() for _, p in sorted(student.model.named_parameters())])[::37].numpy()
    theirs = GOLDEN[f'resnet14-resnet8/{method}']
    assert ours.shape == theirs.shape and len(METHODS) == 3
    assert np.abs(ours-theirs).max() <= 1e-9, np.abs(ours-theirs).max()
