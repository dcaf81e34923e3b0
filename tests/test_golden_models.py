"The zoo equals the official implementations: parameter counts exactly, logits and local logits to 1e-4 of the largest (numbers only; made-up input and weights)"
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from icd_nb.decoupling import local_logits
from icd_nb.models import create_model, load_weights

GOLDEN = np.load(Path(__file__).parent/'golden'/'models_public.npz')
NAMES = sorted(k.split('/')[0] for k in GOLDEN.files if k.endswith('/logits'))
PARAMS = dict(resnet20=278_324, resnet32=472_756, resnet56=861_620, resnet110=1_736_564, resnet8x4=1_233_540, resnet32x4=7_433_860, wrn_16_2=703_284,
              wrn_40_1=569_780, wrn_40_2=2_255_156, vgg8=3_965_028, vgg13=9_462_180, ResNet18=11_220_132, ResNet50=23_705_252, MobileNetV2=812_836,
              ShuffleV1=949_258, ShuffleV2=1_355_528)


def made_up(key, shape):
    "Weights that depend on nothing but their name and shape"
    r = np.random.RandomState(zlib.crc32(key.encode()))
    if key.endswith('num_batches_tracked'): return np.zeros(shape)
    if key.endswith('running_mean'): return .1*r.randn(*shape)
    if key.endswith('running_var'): return 1 + .5*r.rand(*shape)
    if len(shape) == 1 and key.endswith('weight'): return 1 + .1*r.randn(*shape)
    if key.endswith('bias'): return .1*r.randn(*shape)
    return r.randn(*shape)*np.sqrt(2/np.prod(shape[1:]))


def weights(model): return {k: torch.as_tensor(made_up(k, tuple(v.shape))).to(v.dtype) for k, v in model.state_dict().items()}


def official(name):
    "The model with made-up weights, in eval mode"
    model = create_model(name, num_classes=100)
    model.load_state_dict(weights(model))
    return model.eval()


def close(ours, theirs):
    theirs = torch.as_tensor(theirs)
    assert ours.shape == theirs.shape
    return (ours - theirs).abs().max() <= 1e-4*theirs.abs().max()


X = torch.as_tensor(GOLDEN['x'])


def test_names(): assert NAMES == ['ShuffleV1', 'resnet20', 'resnet8x4', 'vgg8', 'wrn_16_2']


@pytest.mark.parametrize('name', NAMES)
@torch.no_grad()
def test_logits(name): assert close(official(name)(X), GOLDEN[f'{name}/logits'])


@pytest.mark.parametrize('name', NAMES)
@torch.no_grad()
def test_local_logits(name): assert close(local_logits(official(name), X, scales=(1,2,4)), GOLDEN[f'{name}/local'])


@pytest.mark.parametrize('name', PARAMS)
def test_parameter_counts(name):
    with torch.device('meta'): model = create_model(name, num_classes=100)
    assert sum(p.numel() for p in model.parameters()) == PARAMS[name]


@pytest.mark.parametrize('wrap', [lambda w: w, lambda w: {'model': w, 'epoch': 240}, lambda w: {'state_dict': {f'module.{k}': v for k, v in w.items()}},
                                  lambda w: {'net': w, 'best_acc': np.float64(72.5)}], ids=['bare', 'model', 'module', 'net'])
@pytest.mark.parametrize('zipped', [True, False])
@torch.no_grad()
def test_published_checkpoints(wrap, zipped, tmp_path):
    "A checkpoint as it is published gives the official logits"
    torch.save(wrap(weights(create_model('resnet20'))), tmp_path/'ckpt_epoch_240.pth', _use_new_zipfile_serialization=zipped)
    model = load_weights(create_model('resnet20'), tmp_path/'ckpt_epoch_240.pth').eval()
    assert close(model(X), GOLDEN['resnet20/logits'])
