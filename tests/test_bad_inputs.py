"""What a user may get wrong, at every public entrance: each bad input gets a sentence of this library, raised by this library, that says what is wrong.

A table has rows `(entrance, call, bad values, words)`: `call(value)` must raise, and the message must hold the words."""
import gzip, json, math, os, pickle, traceback
from collections import Counter
from functools import partial
from pathlib import Path
import numpy as np, pytest, torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
import icd_nb
from icd_nb import core, params
from icd_nb.cache import cache_teacher
from icd_nb.data import Augment, ImageData, load_data, steps_per_epoch, test_batches as in_batches, train_batches
from icd_nb.data.arrays import load_npz
from icd_nb.data.augment import recipe as augmentation
from icd_nb.data.batches import toy_data
from icd_nb.data.folders import load_folder
from icd_nb.data.loaders import LoaderData
from icd_nb.decoupling import Scorer, local_logits
from icd_nb.export import export_model
from icd_nb.features.maps import AT
from icd_nb.gram import gram_matrix, scale_weights, structure, structures
from icd_nb.hints import cluster_layers, linear_cka, r2_cca, rbf_cka, select_hints
from icd_nb.hints.clusters import k_medoids
from icd_nb.hints.terms import AtHints
from icd_nb.hints.points import HintPoints, student_points
from icd_nb.hub import hub_file, write_hub_folder
from icd_nb.interpret import clusters, fidelity, image, outputs as asked, test_set
from icd_nb.losses import (CE, DKD, KD, NKD, SDD, Structure, dkd_loss, icd_loss, kd_loss, nkd_loss, objective, sdd_dkd_loss, sdd_kd_loss,
                           sdd_nkd_loss)
from icd_nb.models import create_model, load_weights
from icd_nb.pooling import multiscale_pool, n_cells, pool_matrix
from icd_nb.prediction import predict
from icd_nb.results.beside import measured, plot_beside, train_beside
from icd_nb.results.lab import Lab
from icd_nb.results.ledger import Ledger
from icd_nb.results.requests import ABLATION_PARAMETERS, TABLE_PARAMETERS
from icd_nb.results.asked import RUN_PARAMETERS
from icd_nb.results.run import Run
from icd_nb.saved import load_saved
from icd_nb.scales import choose_scales
from icd_nb.terms import Objective, Warmup
from icd_nb.trainer import Recipe, Speed, Student, evaluate, fit, fit_many
from icd_nb.watch import TensorBoard, WandB, tracker
from icd_nb.weights import save_weights

OWN = (ValueError, TypeError, FileNotFoundError)
HOME = str(Path(icd_nb.__file__).parent)

# Kinds of bad values
NAN, INF = math.nan, math.inf
SOMETHING = object()
NO_NUMBER = [NAN, INF, -INF, 'x', [], {}, SOMETHING, True, 1+2j]
NOT_ABOVE_0 = [0, -1, None, *NO_NUMBER]
BELOW_0 = [-1, None, *NO_NUMBER]
GIVEN_WHOLE = [2.5, 0, -3, 1e300, 10**400, *NO_NUMBER] # where `None` is the default
NOT_WHOLE = [None, *GIVEN_WHOLE]
NO_NAME = [None, 5, '', ' ', b'x', ['a'], object(), 'a\0b']
NO_SCALES = [None, '', [], '[1,x]', [0], [-1], [1.5], [1, 1], [NAN], [INF], 10**400, True, b'12', [[1, 2]], object(), [10**6], '1;2']
NO_YES = ['yes', 2, None, [], NAN, '']

# What is right: tiny networks, images and scores
torch.manual_seed(0)
B, K, C = 4, 5, 6
S, T_, Y = torch.randn(B, K), torch.randn(B, K), torch.tensor([0, 1, 2, 4])
SL, TL = torch.randn(B, K, 5), torch.randn(B, K, 5) # scales (1,2)
DATA = toy_data(12, 6, 8, classes=3, augment=Augment(8, 1))
X = torch.randn(4, 3, 8, 8)

class Net(nn.Module):
    def __init__(self, classes=3, channels=3):
        super().__init__()
        self.a, self.b = nn.Conv2d(channels, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(4, classes)
    def forward(self, x): return self.fc(self.pool(self.b(self.a(x).relu()).relu()).flatten(1))

class Made(Net):
    "A network whose forward is `f(its logits, the images)`"
    def __init__(self, f):
        super().__init__()
        self.f = f
    def forward(self, x): return self.f(super().forward(x), x)

def lazy():
    net = Net()
    net.fc = nn.LazyLinear(3)
    return net

def traced(): return torch.jit.trace(Net().eval(), torch.zeros(2, 3, 8, 8), check_trace=False)

def in_inference():
    with torch.inference_mode(): return Net()

def no_gradient(): return [Net().requires_grad_(False), Made(lambda z, x: z.detach()), Made(lambda z, x: z.round().long().float())]

class Maps(Net): # returns no logits
    def forward(self, x): return self.a(x)

def fresh(objective=None, **kw): return Student(Net(), objective, recipe=Recipe(epochs=1, bs=4), **kw)
D = torch.tensor([[0., .1, .8], [.1, 0, .7], [.8, .7, 0]])
HINTS = HintPoints(['a', 'b', 'c'], [0, 2], [0, 0, 1], (1-D).tolist())

def scores_rows(): # losses: shapes, types and labels
    two = dict(kd_loss=lambda s, t: kd_loss(s, t, 4.), dkd_loss=lambda s, t: dkd_loss(s, t, Y), nkd_loss=lambda s, t: nkd_loss(s, t, Y))
    three = dict(sdd_kd_loss=lambda s, t: sdd_kd_loss(s, t, Y), sdd_dkd_loss=lambda s, t: sdd_dkd_loss(s, t, Y),
                 sdd_nkd_loss=lambda s, t: sdd_nkd_loss(s, t, Y), icd_loss=lambda s, t: icd_loss(s, t, (1, 2)))
    for name, f in (two | three).items():
        z = S if name in two else SL
        none = [None, 3, 'x', z.tolist(), z.numpy(), z.long(), z.bool(), z.to(torch.complex64), z[:0], z[:, :0], z[0]]
        yield f'{name}: student', lambda v, f=f, z=z: f(v, z), none, 'student scores'
        yield f'{name}: teacher', lambda v, f=f, z=z: f(z, v), [*none, z[:2], z[:, :2], z.repeat(1, 2, *[1]*(z.ndim-2))], 'teacher scores'
    with_labels = dict(dkd_loss=(dkd_loss, S), nkd_loss=(nkd_loss, S), sdd_kd_loss=(sdd_kd_loss, SL), sdd_dkd_loss=(sdd_dkd_loss, SL), sdd_nkd_loss=(sdd_nkd_loss, SL))
    no_labels = [None, 1, [0, 1, 2, 4], Y.numpy(), Y.float(), Y[:2], Y[:, None], Y+1, Y-1]
    for name, (f, z) in with_labels.items(): yield f'{name}: labels', lambda v, f=f, z=z: f(z, z, v), no_labels, 'labels'

def hyper_rows(): # temperatures and weights
    above = {'KD: T': KD, 'DKD: T': lambda v: DKD(T=v), 'NKD: T': lambda v: NKD(T=v), 'Structure: T': Structure,
             'kd_loss: T': lambda v: kd_loss(S, T_, v), 'icd_loss: T': lambda v: icd_loss(SL, TL, (1, 2), T=v),
             'structure: T': lambda v: structure(TL.mT, v), 'structures: T': lambda v: structures(TL.mT, (1, 2), v)}
    weight = {'DKD: alpha': lambda v: DKD(alpha=v), 'DKD: beta': lambda v: DKD(beta=v), 'NKD: gamma': lambda v: NKD(gamma=v),
              'SDD: beta': lambda v: SDD(KD(), v), 'dkd_loss: beta': lambda v: dkd_loss(S, T_, Y, beta=v),
              'sdd_nkd_loss: gamma': lambda v: sdd_nkd_loss(SL, TL, Y, gamma=v), 'icd_loss: gamma': lambda v: icd_loss(SL, TL, (1, 2), v),
              'objective: gamma': lambda v: objective('icd_kd', gamma=v), 'objective: beta': lambda v: objective('sd_kd', beta=v),
              'objective: dkd_beta': lambda v: objective('dkd', dkd_beta=v), 'objective: ce_weight': lambda v: objective('kd', ce_weight=v),
              'Warmup: epochs': lambda v: Warmup(KD(), v), 'objective: warmup': lambda v: objective('dkd', warmup=v),
              'weight of a term': lambda v: Objective((v, KD()))}
    for name, f in above.items(): yield name, f, NOT_ABOVE_0, 'a number above 0'
    for name, f in weight.items(): yield name, f, BELOW_0, 'a number of at least 0'
    yield 'a term times something', lambda v: v*KD(), [NAN, -1., INF, 'x', [], None], 'a number of at least 0'
    yield 'a term plus something', lambda v: KD()+v, [1, 'x', None, nn.Linear(1, 1)], 'terms'
    yield 'Objective', Objective, [None, 'kd', 5, KD, nn.Linear(1, 1)], 'made of terms'
    yield 'FeatureTerm: layers', AT, ['a', ['a'], ['ab'], [(1, 2)], [('a', 'b', 'c')], 5], 'AT: layers = '
    yield 'SDD: inner', SDD, [None, 'kd', CE(), KD], 'SDD takes a loss of single cells'
    yield 'SDD: right', lambda v: SDD(KD(), right=v), [None, 'x', 5], 'meaning of right'
    yield 'SDD: keep', lambda v: SDD(KD(), keep=v), [None, 'x', 5], 'choice of cells'
    yield 'Structure: weights', lambda v: Structure(weights=v), [None, 'x', 5], 'weighting of scales'
    yield 'AtHints: term', lambda v: AtHints(v, ['layer1']), [None, 5, 'at', CE], 'AtHints: term'
    yield 'Warmup: term', Warmup, [None, 'kd', CE()+KD()], 'Warmup takes one term'
    yield 'objective', objective, [None, 5, '', [], 'kdd', 'kd+', 'kd+x'], 'method'
    yield 'objective: scales', lambda v: objective('icd_kd', v), NO_SCALES[1:], 'scales'
    yield 'objective: unknown', lambda v: objective('kd', **{v: 1}), ['temp', 'x', 'Beta'], 'unknown hyper-parameter'
    yield "objective: another method's", lambda v: objective('kd', **{v: 1}), ['beta', 'dkd_beta', 'with_kd'], 'There are: T, ce_weight, kd_weight'

def idea_rows(): # pooling, scores, Gram
    no_map = [None, 3, 'x', X.numpy(), X.long(), X[0, 0], X[..., :0], X[None, None], X.tolist()]
    yield 'multiscale_pool', multiscale_pool, no_map, 'a feature map is'
    yield 'multiscale_pool: scales', lambda v: multiscale_pool(X, v), NO_SCALES, 'scales'
    yield 'n_cells', n_cells, NO_SCALES, 'scales'
    yield 'pool_matrix', lambda v: pool_matrix((v, 4)), [0, -1, 2.5, 'x', None, 10**9], 'pool_matrix: axis 0 = '
    yield 'scale_weights', scale_weights, NO_SCALES, 'scales'
    no_cells = [None, 3, 'x', SL.numpy(), SL.long(), S, SL[None]]
    yield 'gram_matrix', gram_matrix, no_cells, 'scores of cells'
    yield 'structures', lambda v: structures(v, (1, 2)), no_cells, 'scores of cells'
    yield 'structures: cells', lambda v: structures(TL.mT, v), [(1,), (1, 2, 4), (2, 4)], 'cells do not make scales'
    yield 'icd_loss: scales', lambda v: icd_loss(SL, TL, v), NO_SCALES, 'scales'
    no_images = [None, 3, 'x', X.numpy(), X.long(), X[0], X[:0], X[:, :1], X[None], S]
    yield 'local_logits: images', lambda v: local_logits(Net(), v), no_images, 'images'
    yield 'local_logits: model', lambda v: local_logits(v, X), [None, 'resnet8', Net, lambda x: x, [Net()], {}], 'network'
    yield 'local_logits: kind of model', lambda v: local_logits(v, X), [Maps(), nn.Conv2d(3, 5, 1)], 'instead of logits'
    yield 'local_logits: no map', lambda v: local_logits(v, X), [nn.Flatten()], 'never averages a whole feature map'
    yield 'local_logits: scales', lambda v: local_logits(Net(), X, v), NO_SCALES, 'scales'
    for head in ('fc', 5, nn.Identity(), ('body', 'head')): yield 'Scorer: head', lambda v: Scorer(Net(), head=v), [head], 'the explicit head'
    yield 'Scorer', Scorer, [None, 'resnet8', Net], 'network'

def training_rows(): # recipe, speed, students and what trains them
    for name in ('epochs', 'bs'): yield f'Recipe: {name}', lambda v, name=name: Recipe(**{name: v}), NOT_WHOLE, f'{name}'
    for name in ('lr', 'decay'): yield f'Recipe: {name}', lambda v, name=name: Recipe(**{name: v}), [*NOT_ABOVE_0, 10**400], f'{name}'
    for name in ('momentum', 'weight_decay'): yield f'Recipe: {name}', lambda v, name=name: Recipe(**{name: v}), [*BELOW_0, 1, 5, 10**400], f'{name}'
    yield 'Recipe: clip', lambda v: Recipe(clip=v), [0, -1, *NO_NUMBER, 10**400], 'clip'
    yield 'Recipe: drops', lambda v: Recipe(drops=v), ['abc', None, .5, [2], [-.1], [NAN], [None], ['.5'], 5], 'drops'
    yield 'Speed: precision', lambda v: Speed(precision=v), ['fp16', None, 5, ''], 'precision'
    for name in ('channels_last', 'fused', 'fold', 'graph'): yield f'Speed: {name}', lambda v, name=name: Speed(**{name: v}), ['x', None, 2], name
    yield 'Speed: compile', lambda v: Speed(compile=v), [None, 2, 'no such backend', []], 'compile'
    yield 'Student: model', Student, [None, 'resnet8', Net, lambda x: x, {}], "a student's model"
    yield 'Student: objective', lambda v: fresh(v), ['kd', 5, KD, [CE()], nn.Linear(1, 1)], "a student's objective"
    yield 'Student: a function as objective', fresh, [lambda s, t, y: 0], 'a function becomes a term'
    yield 'Student: no terms', fresh, [Objective()], 'has no terms'
    yield 'Student: recipe', lambda v: Student(Net(), recipe=v), [None, 'x', 5, dict(epochs=1), Recipe], 'recipe'
    yield 'Student: seed', lambda v: fresh(seed=v), [None, 'x', 2.5, -1, NAN, [0]], 'seed'
    yield 'Student.result', lambda v: v.result(), [fresh()], 'has no epoch yet'
    yield 'Student: name', lambda v: fresh(name=v), NO_NAME, 'name'
    yield 'Student: folder', lambda v: fresh(folder=v), [5, b'x', ['a'], 'a\0b'], 'folder'
    yield 'Student: scales', lambda v: fresh(SDD(KD()), scales=v), NO_SCALES[1:], 'scales'
    yield 'fit_many', lambda v: fit_many(v, DATA), [[], ()], 'there is no student to train'
    yield 'fit_many: students', lambda v: fit_many(v, DATA), [None, 5, 'x', [None], [Net()], Net(), fresh()], 'fit_many a list of them'
    yield 'fit: student', lambda v: fit(v, DATA), [None, Net(), [], 'x'], 'fit takes a Student'
    no_data = [None, 5, 'minibirds', X, (X, Y), [DATA], object()]
    yield 'fit: data', lambda v: fit(fresh(), v), no_data, 'image set'
    yield 'fit: teacher', lambda v: fit(fresh(CE()+KD()), DATA, v), ['resnet8', Net, [Net()], 5, {}, lambda x: x, X], 'the teacher is a'
    yield 'fit: teacher of other classes', lambda v: fit(fresh(CE()+KD()), DATA, Net(v), device='cpu'), [2, 4, 100], 'classes'
    yield 'fit: student of other classes', lambda v: fit(Student(Net(v), recipe=Recipe(1, 4)), DATA, device='cpu'), [2, 1], 'classes, and the data has 3'
    yield 'fit: no teacher', lambda v: fit(fresh(v), DATA, device='cpu'), [KD(), CE()+SDD(KD())], 'teacher'
    yield 'fit: other channels', lambda v: fit(Student(v, recipe=Recipe(1, 4)), DATA, device='cpu'), [Net(channels=1)], 'does not take these images'
    yield 'fit: no logits', lambda v: fit(Student(v, recipe=Recipe(1, 4)), DATA, device='cpu'), [Maps()], 'logits'
    def trained(v): return fit(Student(v, recipe=Recipe(1, 4)), DATA, device='cpu')
    not_there = [lazy(), Net().to('meta')]
    yield 'fit: a network without weights', trained, not_there, 'its '
    yield 'fit: a teacher without weights', lambda v: fit(fresh(CE()+KD()), DATA, v, device='cpu'), not_there, 'its '
    yield 'evaluate: a network without weights', lambda v: evaluate(v, DATA, 'cpu'), not_there, 'its '
    yield 'fit: a program', trained, [traced()], 'is a TorchScript program'
    yield 'fit: a program as teacher', lambda v: fit(fresh(CE()+KD()), DATA, v, device='cpu'), [traced()], 'is a TorchScript program'
    yield 'fit: inference mode', trained, [in_inference()], 'was made under torch.inference_mode()'
    yield 'fit: no gradient', trained, no_gradient(), 'no gradient reaches the weights'
    yield 'fit: images changed', trained, [Made(lambda z, x: (x.mul_(2), z)[1])], 'changes its images in place'
    yield 'fit: errors of its own', trained, [Made(lambda z, x: z.nothing), Made(lambda z, x: [][1]), Made(lambda z, x: {}['a']), Made(lambda z: z), Made(lambda z, x: z @ z)], 'does not take these images'
    yield 'fit: other outputs', trained, [Made(lambda z, x: (z, z + 1)), Made(lambda z, x: dict(a=z, b=2*z)), Made(lambda z, x: dict(out=x)), Made(lambda z, x: z.mean()), Made(lambda z, x: z[0]), Made(lambda z, x: z[:, :, None, None]), Made(lambda z, x: None)], 'instead of logits'
    def together(v): return fit_many([Student(o, recipe=Recipe(1, 4)) for o in v], DATA, device='cpu')
    yield 'fit_many: one network', together, [[one := Net(), one], [one, nn.Sequential(one)], [Net(), one, nn.ModuleList([one])[0]]], 'share their weights'
    yield 'fit: seed', lambda v: fit(fresh(), DATA, seed=v, device='cpu'), [None, 'x', 2.5, -1, NAN, [0]], 'seed'
    no_device = ['gpu', 'cuda:x', 5, '', b'cpu', [], 'meta', 'cpu:x', NAN, object()]
    yield 'fit: device', lambda v: fit(fresh(), DATA, device=v), no_device, 'device'
    yield 'fit: speed', lambda v: fit(fresh(), DATA, speed=v), [None, 'fp32', {}, Speed], 'Speed'
    yield 'fit: deadline', lambda v: fit(fresh(), DATA, deadline=v), ['x', [], NAN], 'deadline'
    yield 'evaluate: model', lambda v: evaluate(v, DATA, 'cpu'), [None, 'resnet8', Net, lambda x: x, [Net()], {}], 'network'
    yield 'evaluate: data', lambda v: evaluate(Net(), v, 'cpu'), no_data, 'image set'
    yield 'evaluate: bs', lambda v: evaluate(Net(), DATA, 'cpu', v), GIVEN_WHOLE, 'batch size'
    yield 'evaluate: classes', lambda v: evaluate(Net(v), DATA, 'cpu'), [2, 1], 'classes, and the data has 3'
    yield 'evaluate: device', lambda v: evaluate(Net(), DATA, v), no_device, 'device'
    yield 'cache_teacher: model', lambda v: cache_teacher(v, DATA, device='cpu'), [None, 'resnet8', Net, [Net()]], 'network'
    yield 'cache_teacher: data', lambda v: cache_teacher(Net(), v, device='cpu'), no_data, 'image set'
    yield 'cache_teacher: scales', lambda v: cache_teacher(Net(), DATA, v, device='cpu'), [v for v in NO_SCALES if v not in (None, '', [])], 'scales'
    yield 'cache_teacher: bs', lambda v: cache_teacher(Net(), DATA, device='cpu', bs=v), NOT_WHOLE, 'batch size'
    yield 'cache_teacher: dtype', lambda v: cache_teacher(Net(), DATA, device='cpu', dtype=v), [None, 'fp32', torch.int64, float, torch.bool], 'dtype'
    yield 'cache_teacher: path', lambda v: cache_teacher(Net(), DATA, path=v, device='cpu'), [5, '', b'x', ['a']], 'path'
    yield 'Lab: data', Lab, no_data, 'image set'
    yield 'Lab: device', lambda v: Lab(DATA, device=v), no_device, 'device'

def image_rows(tmp): # images, recipes, folders and files
    yield 'Augment: size', Augment, NOT_WHOLE, 'size'
    yield 'Augment: pad', lambda v: Augment(8, v), [v for v in NOT_WHOLE if v != 0 or v is True], 'pad'
    yield 'Augment: flip', lambda v: Augment(8, flip=v), ['no', None, 2, NAN, []], 'flip'
    no_three = [None, .5, 'abc', [], [1, 1], [1, 1, NAN], [1, 1, INF], [1, 1, 'x'], 'x', object()]
    yield 'Augment: mean', lambda v: Augment(8, mean=v), no_three, 'mean'
    yield 'Augment: std', lambda v: Augment(8, std=v), [*no_three, [1, 0, 1], [1, -1, 1]], 'std'
    yield 'recipe: crop', lambda v: augmentation(32, v), GIVEN_WHOLE, 'crop = '
    given = {k: getattr(DATA, k) for k in ('name', 'train_x', 'train_y', 'test_x', 'test_y', 'classes', 'augment')}
    def image_data(k, v): return ImageData(**(given | {k: v}))
    x, y = DATA.train_x, DATA.train_y
    no_x = [None, 5, 'x', x.numpy(), x.float(), x[0], x[..., :1], x[:0], x[:6], x.permute(0, 3, 1, 2), x[:, :0]]
    no_y = [None, 5, 'x', y.numpy(), y.float(), y[:5], y+1, y-1, y[:, None], y.tolist(), y*10**9]
    yield 'ImageData: train_x', partial(image_data, 'train_x'), no_x, 'toy, train'
    yield 'ImageData: train_y', partial(image_data, 'train_y'), no_y, 'toy, train'
    yield 'ImageData: classes', partial(image_data, 'classes'), [None, 3, 'abc', [], ['a'], range(3), {}], 'classes'
    yield 'ImageData: more classes', partial(image_data, 'classes'), [list('abcd')], 'no training image of d'
    yield 'ImageData: augment', partial(image_data, 'augment'), [None, 8, {}, Augment], 'augment'
    yield 'ImageData: too large a crop', partial(image_data, 'augment'), [Augment(9), Augment(32, 4)], 'smaller than the crop'
    yield 'ImageData: name', partial(image_data, 'name'), NO_NAME, 'name'
    yield 'ImageData: families', partial(image_data, 'families'), [5, [0], 'abc', range(3)], 'families'
    yield 'ImageData: drop_last', partial(image_data, 'drop_last'), NO_YES, 'drop_last'
    yield 'ImageData: device', DATA.to, ['gpu', 5, '', [], 'meta'], 'device'
    some = TensorDataset(X, torch.arange(4) % 3)
    yield 'LoaderData', lambda v: LoaderData(v, some), [None, 5, X, X.numpy(), [X], TensorDataset(X), TensorDataset(X[:0], Y[:0]), TensorDataset(X, Y/3), [(X[0], 'a')]], 'train'
    yield 'LoaderData: test', lambda v: LoaderData(some, v), [None, 5, X, TensorDataset(X)], 'test'
    yield 'LoaderData: test', lambda v: LoaderData(some, v), [DataLoader(some, 3, drop_last=True), DataLoader(some, batch_sampler=[[0, 1, 2]])], 'shows 3 of 4 images'
    yield 'LoaderData: classes', lambda v: LoaderData(some, some, v), [['a'], {'a': 0}], 'labels go up to 2'
    yield 'LoaderData: classes', lambda v: LoaderData(some, some, v), ['ab', 3, {'a': 'b'}], 'class'
    yield 'LoaderData: workers', lambda v: LoaderData(some, some, workers=v), [v for v in NOT_WHOLE if v != 0], 'workers'
    yield 'subset', lambda v: DATA.subset(v), [*GIVEN_WHOLE, 10**6], 'subset'
    for name, f in dict(steps_per_epoch=steps_per_epoch, train_batches=train_batches, test_batches=in_batches).items():
        yield name, lambda v, f=f: f(DATA, v), NOT_WHOLE, 'batch size'
    yield 'load_data', load_data, NO_NAME, 'data set = '
    yield 'load_data', load_data, ['minibird', 'Minibirds', 'mini birds'], "Did you mean 'minibirds'?"
    yield 'load_data', load_data, ['https://example.org/photos', 's3://bucket/photos'], 'is an address'
    yield 'load_data', load_data, [tmp/'zeros.pth', tmp/'text.safetensors', tmp/'notes'/'text.json'], 'is a file, and no .npz'
    yield 'load_folder', load_folder, [tmp/'other_names'], '(it holds learn, look)'
    yield 'load_data', load_data, ['no/such/folder', 'nothing.npz', '~nobody/x'], 'there is no such folder or .npz file'
    yield 'load_data', load_data, ['x'*5000+'/y'], 'a path of at most'
    yield 'load_data', load_data, ['/', tmp/'empty', tmp/'photos'/'train'], 'must hold the folders train/ and test/'
    yield 'load_data: data_dir', lambda v: load_data('minibirds', v), [5, b'x', ['a'], 'a\0b'], 'data_dir'
    yield 'load_data: options', lambda v: load_data('minibirds', **{v: 1}), ['seeds', 'n', 'crop'], 'unknown option'
    for name in ('n_train', 'n_test', 'size', 'seed'): yield f'minibirds: {name}', lambda v, name=name: load_data('minibirds', **{name: v}), [2.5, None, *NO_NUMBER, -1, 10**30], f'load_minibirds: {name} = '
    yield 'cub200', lambda v: load_data('cub200', v), [tmp/'half'], 'has no images.txt'
    yield 'load_folder', load_folder, [None, 5, '', b'x'], 'load_folder: path = '
    yield 'load_folder', load_folder, [tmp/'nowhere', tmp/'own.npz', tmp/'empty'], 'must hold the folders train/ and test/'
    for name in ('size', 'crop', 'pad', 'flip', 'mean', 'std'): yield f'load_folder: {name}', lambda v, name=name: load_folder(tmp/'photos', **{name: v}), ['x', NAN, -1, [], {}, 10**9], name
    for name, bad in dict(share=[0, -1, NAN, 'x', []], seed=['x', -1, 2.5, None]).items():
        yield f'load_folder: {name}', lambda v, name=name: load_folder(tmp/'photos'/'train', **dict(share=.2) | {name: v}), bad, f'train: {name} = '
    yield 'load_folder: share', lambda v: load_folder(tmp/'photos', share=v), [.2], 'holds train/ or test/ already'
    yield 'load_npz', load_npz, [None, 5, ''], 'load_npz: path = '
    yield 'load_npz', load_npz, [tmp/'nowhere.npz', tmp/'empty'], 'there is no such file'
    yield 'load_npz', load_npz, [tmp/'text.npz'], 'is not a readable .npz'
    for name, bad in dict(crop=['x', 0, 99], pad=['x', -1], flip=['x', 2], mean=[.5, 'x', [1]], std=[0, [0, 1, 1]], share=[0, -1, NAN, 'x', None], seed=['x', -1, 2.5, None], size=['x', 0, 10**6, 2.5]).items():
        yield f'load_npz: {name}', lambda v, name=name: load_npz(tmp/'own.npz', **{name: v}), bad, name

    seen = create_model('resnet8', DATA.num_classes)
    yield 'predict: pictures', lambda v: predict(seen, v, DATA), [None, 5.5, '', b'x', object(), True, ['a.jpg', None]], 'picture'
    yield 'predict: pictures', lambda v: predict(seen, v, DATA), [[], (), range(0), tmp/'nowhere.jpg', tmp/'empty'], 'picture'
    yield 'predict: numbers', lambda v: predict(seen, v, DATA), [-1, 10**6, [0, -1], torch.tensor([10**6])], 'has no test image'
    yield 'predict: bytes', lambda v: predict(seen, v, DATA), [torch.zeros(2, 3, 8, 8), torch.zeros(2, 5, 5, 3, dtype=torch.uint8)], 'a tensor of pictures is bytes'
    yield 'predict: data', lambda v: predict(seen, 0, v), [None, 5, 'minibirds', {}, {'classes': ['a']}], 'data is '
    yield 'predict: model', lambda v: predict(v, 0, DATA), [None, 'resnet8', create_model], 'predict: model'
    yield 'load_saved', load_saved, [None, 5, '', b'x', []], 'load_saved: place'
    yield 'load_saved', load_saved, [tmp/'empty', tmp/'nowhere', tmp/'notes'/'text.json', 'local-dir:nowhere'], ''
    yield 'predict: top', lambda v: predict(seen, 0, DATA, v), [0, -1, 10**6, *NOT_WHOLE], 'predict: top'

def file_rows(tmp): # networks, weights, hints, ledgers and what is in their files
    yield 'create_model', create_model, [None, 5, '', [], 'resnet9', 'ResNet', b'resnet8'], 'model'
    yield 'write_hub_folder: model', lambda v: write_hub_folder(v, tmp/'hub'), [None, 5, 'resnet8', Net], 'write_hub_folder: model'
    yield 'write_hub_folder', lambda v: write_hub_folder(Net(), v), NO_NAME, 'write_hub_folder: folder'
    yield 'hub_file', lambda v: hub_file(f'local-dir:{v}'), [tmp/'nowhere', tmp/'empty'], 'there is no'
    for watching in (TensorBoard, WandB): yield watching.__name__, lambda v, f=watching: f(folder=v), NO_NAME[3:], f'{watching.__name__}: folder'
    yield 'tracker', tracker, ['mlflow', 5, '', []], 'unknown tracker'
    yield 'create_model: classes', lambda v: create_model('resnet8', v), [1, *GIVEN_WHOLE], 'num_classes'
    yield 'create_model: size', lambda v: create_model('resnet8', 5, v), [16, *NOT_WHOLE], 'image_size'
    yield 'create_model: stem', lambda v: create_model('resnet8', stem=v), ['x', 5], 'stem'
    yield 'create_model: seed', lambda v: create_model('resnet8', seed=v), ['x', 2.5, NAN, [0], -1, 10**400], 'seed'
    net = create_model('resnet8', 5)
    yield 'load_weights: path', lambda v: load_weights(net, v), [None, 5, '', []], 'weights: path = '
    yield 'load_weights: no file', lambda v: load_weights(net, v), [tmp/'nowhere.pth', tmp/'empty'], 'there is no file'
    yield 'load_weights: no weights', lambda v: load_weights(net, v), [tmp/'text.npz', tmp/'zeros.pth'], 'cannot be read as a PyTorch checkpoint'
    yield 'load_weights: damaged', lambda v: load_weights(net, v), [tmp/'text.safetensors'], 'is not a whole .safetensors file'
    yield 'load_weights: other weights', lambda v: load_weights(net, v), [tmp/'list.pth', tmp/'other.pth'], 'do not fit this model'
    yield 'load_weights: address', lambda v: load_weights(net, v), ['https://example.org/a.pth', 'http://x/a.safetensors'], 'is an address'
    yield 'load_weights: something else', lambda v: load_weights(net, v), sorted((tmp/'others').iterdir()), 'others/'
    yield 'load_weights: nothing in it', lambda v: load_weights(net, v), sorted((tmp/'nothing').iterdir()), 'no dictionary in it holds tensors'
    yield 'load_weights: no numbers', lambda v: load_weights(net, v), sorted((tmp/'odd').iterdir()), 'cannot be used'
    yield 'load_weights: an empty model', lambda v: load_weights(v, tmp/'other.pth'), [create_model('resnet8', 5).to('meta')], 'holds no numbers'
    yield 'load_weights: model', lambda v: load_weights(v, tmp/'other.pth'), [None, 'resnet8', create_model, {}], 'network'
    yield 'save_weights', lambda v: save_weights(net, v), [None, 5, ''], 'save_weights: path = '
    yield 'save_weights', lambda v: save_weights(net, v), ['weights.pth', tmp/'x'], 'let the name end in .safetensors'
    no_features = {'has features': [None, 'x', 5, torch.randn(3), torch.randn(4, 2, 2), torch.full((4, 2), NAN), torch.randn(4, 0), ['a', 'b']],
                   'different numbers of images': [torch.randn(1, 2), torch.randn(5, 2)]}
    Z = torch.randn(4, 1)
    for f in (linear_cka, rbf_cka, r2_cca):
        for words, bad in no_features.items(): yield f.__name__, lambda v, f=f: f(Z, v), bad, words
    yield 'rbf_cka: bandwidth', lambda v: rbf_cka(Z, Z, v), NOT_ABOVE_0, 'bandwidth'
    no_table = [None, 'x', 5, [], torch.randn(2, 3), torch.full((3, 3), NAN), torch.arange(9.).view(3, 3), torch.randn(3), [['a']]]
    for f in (cluster_layers, k_medoids):
        yield f.__name__, lambda v, f=f: f(v, 1), no_table, 'distance matrix'
        yield f'{f.__name__}: k', lambda v, f=f: f(D, v), [4, *NOT_WHOLE], 'clusters of 3 layers: k = '
    yield 'select_hints: model', lambda v: select_hints(v, X), [None, 'resnet8', Net, {}], 'network'
    yield 'select_hints: images', lambda v: select_hints(Net(), v), [None, '', 5, 'x', X.long(), X[0], X[:0], [], [X[0]], {}, object(), X[:, :1]], 'image'
    yield 'select_hints: k', lambda v: select_hints(Net(), X, v), [3, *GIVEN_WHOLE], 'hint points of 2 layers: k = '
    yield 'select_hints: metric', lambda v: select_hints(Net(), X, 1, v), [None, 'cka', 5, []], 'metric'
    yield 'select_hints: how', lambda v: select_hints(Net(), X, 1, 'linear_cka', how=v), [None, 'x', 5, []], 'choice of points'
    yield 'select_hints: layers', lambda v: select_hints(Net(), X, 1, 'linear_cka', v), ['a', ['a'], ['a', 'nope'], 5, ['a', 5], 'nope'], 'layer'
    for name in ('n', 'bs'): yield f'select_hints: {name}', lambda v, name=name: select_hints(Net(), X, 1, 'linear_cka', **{name: v}), NOT_WHOLE, f'images: {name} = '
    yield 'HintPoints.choose', HINTS.choose, [None, 'x', 5], 'choice of points'
    yield 'HintPoints.choose: places', HINTS.choose, [[], [3], [-1], ['a'], [1.5]], 'places are'
    yield 'HintPoints.choose: k', lambda v: HINTS.choose('even', v), [4, *GIVEN_WHOLE], '3 layers: k = '
    yield 'student_points', lambda v: student_points(v, HINTS), [None, 2.5, 'ab'], 'names of layers, or how many'
    yield 'student_points: few', lambda v: student_points(v, HINTS), [1, 0, -1, [], ['a']], '2 hint points, but the student has'
    for f in sorted((tmp/'hints').iterdir()): yield 'HintPoints.load', HintPoints.load, [f], f.name
    yield 'HintPoints.load', HintPoints.load, [None, 5, ''], 'HintPoints.load: path = '
    yield 'HintPoints.load', HintPoints.load, [tmp/'nowhere.json', tmp/'empty'], 'there is no file'
    for f in sorted((tmp/'notes').glob('*.json')): yield 'cache_teacher: note', lambda v: cache_teacher(Net(), DATA, path=v, device='cpu'), [f.with_suffix('')], "is no note of a teacher's table"
    yield 'cache_teacher: no table', lambda v: cache_teacher(Net(), DATA, path=v, device='cpu'), [tmp/'list.pth', tmp/'own.npz'], 'is there already'
    yield 'Ledger', Ledger, [5, b'x', [], 'a\0b'], 'ledger'
    for f in sorted((tmp/'ledger').iterdir()): yield 'Ledger.read', Ledger(tmp/'ledger').read, [f], f.name
    yield 'Ledger.add', Ledger(tmp/'new').add, [None, 5, {}, [], dict(settings=5), dict(settings={})], 'result'
    yield 'read_json', core.read_json, [None, 5], 'there is no file'
    yield 'read_json', core.read_json, [tmp/'nowhere.json', tmp/'empty'], 'there is no file'
    yield 'read_json', core.read_json, [tmp/'text.npz'], 'is not JSON'
    yield 'get_device', core.get_device, ['gpu', 'cuda:x', 5, '', b'cpu', [], 'meta', NAN], 'device'
    yield 'get_device', core.get_device, ['vulkan', 'fpga'], 'finds no such device here'
    yield 'parse_scales', core.parse_scales, NO_SCALES, 'scales'

def parameter_rows(): # of notebooks
    texts = ['many', '', 'nan', 'inf', '-1', '1e999', '[1', '0x']
    bad = dict(dataset=NO_NAME, out_dir=NO_NAME[1:], data_dir=NO_NAME[1:], teacher_checkpoint=NO_NAME[1:], ledger=NO_NAME[1:], checkpoints=NO_NAME[1:],
               scales=NO_SCALES[1:], gamma=[*BELOW_0, *texts], dkd_beta=[0, *[v for v in BELOW_0 if v is not None], *texts], warmup=[-1, 'x', NAN, INF, []], clip=[-1, 'x', NAN, INF, []],
               epochs=[0, 2.5, 1e300, INF, -1, 10**400, *texts], teacher_epochs=[0, 2.5, INF, *texts], bs=[0, 2.5, 1e300, INF, *texts], lr=[0, -1, 'auto', NAN, INF, [], *texts],
               n_train=['all', 0, -1, 2.5, INF, [], *texts], n_test=['all', 0, -1, 2.5, INF, []], seeds=['x', [], None, 1e10, 0, -1, '0,0', [0, 0], [1.5], [NAN], 10**400, True, {}, object(), '[0,x]', [True]],
               device=['gpu', 'cuda:x', 5, '', [], NAN], precision=['fp16', None, 5, '', []], compile=['yes', 2, None, []], graph=['yes', 2, None, []], run=['yes', 2, None, []], minutes=[*NOT_ABOVE_0, *texts])
    for name, values in bad.items():
        yield f'parameter {name}', lambda v, name=name: params.check_parameter(name, v), values, f'parameter {name}'
    for name, known, values in (('methods', RUN_PARAMETERS, [None, '', [], 'kdd', 5, 'kd;ce', [5], {}, object()]), ('student', RUN_PARAMETERS, ['resnet9', 5, '', []]), ('teacher', RUN_PARAMETERS, ['resnet9', 5, '', []]),
                                ('pairs', TABLE_PARAMETERS, ['resnet8', 'resnet8:x', 5, '', [5], [['resnet8']], {}]), ('methods', TABLE_PARAMETERS, ['', 'x', 5, []]),
                                ('ablations', ABLATION_PARAMETERS, ['', 'x', 5, [], [5]])):
        yield f'parameter {name}', lambda v, name=name, known=known: params.check_parameter(name, v, known), values, f'parameter {name}'
    yield 'check_parameters', params.check_parameters, [{}, dict(scales=1)], 'is missing'
    run = dict(dataset=NO_NAME, teacher=NO_NAME, student=['resnet9', None, 5, ''], method=['kdd', None, 5, '', 'kd+'], seed=[-1, 2.5, None, *NO_NUMBER], scales=NO_SCALES, gamma=BELOW_0,
               epochs=NOT_WHOLE, bs=GIVEN_WHOLE, lr=[v for v in NOT_ABOVE_0 if v is not None], n_train=GIVEN_WHOLE, hyper=[5, 'x', None, dict(T=NAN), dict(x=1), dict(T=-1), dict(T='x'), dict(T=[1]), dict(beta=-1)], chained=NO_YES, clip=[-1, *NO_NUMBER])
    for name, values in run.items(): yield f'Run: {name}', lambda v, name=name: Run(**{name: v}), values, f'Run({name}='

def picture_rows(tmp): # what is shown of networks, and what is compared
    net, other = Net(), Net(4)
    no_net, no_data, no_label = [None, 5, 'resnet8', Net, X], [None, 5, 'minibirds', X], [3, -1, None, 'a', .5, NAN, []]
    out, few, wide, flat = (asked.outputs(n, d, s, 'cpu', 6) for n, d, s in ((net, DATA, (1, 2)), (net, DATA.subset(12, 3), (1, 2)), (other, DATA, (1, 2)), (net, DATA, (1,))))
    no_out, no_one = [None, 5, out.logits, net], [None, [], {}, [out], out, dict(a=5), dict(a=net)]
    no_two = [*no_one, dict(a=out)]
    yield 'outputs: model', lambda v: asked.outputs(v, DATA), no_net, 'outputs: model'
    yield 'outputs: another number of classes', lambda v: asked.outputs(v, DATA), [Net(2)], 'scores for 2 classes'
    yield 'outputs: data', lambda v: asked.outputs(net, v), no_data, 'data is'
    yield 'outputs: bs', lambda v: asked.outputs(net, DATA, bs=v), NOT_WHOLE, 'batch size'
    yield 'outputs: scales', lambda v: asked.outputs(net, DATA, v), NO_SCALES, 'scales'
    for name in ('disagreements', 'correlation_difference'):
        f = getattr(test_set, name)
        yield name, lambda v, f=f: f(out, v), no_out, 'outputs(model, data)'
        yield f'{name}: other images', lambda v, f=f: f(out, v), [few], 'different images'
        yield f'{name}: other classes', lambda v, f=f: f(out, v), [wide], '3 and 4 classes'
    for name in ('structure_divergence', 'cells_cka', 'agreement', 'divergence'):
        f = getattr(fidelity, name)
        yield name, lambda v, f=f: f(out, v), no_out, 'outputs(model, data)'
        yield f'{name}: other images', lambda v, f=f: f(v, out), [few], 'different images'
    for name in ('structure_divergence', 'cells_cka'): yield f'{name}: other cells', lambda v, name=name: getattr(fidelity, name)(out, v), [flat], 'scales'
    for f, bad in ((test_set.plot_correlation, no_two), (test_set.plot_reliability, no_one), (fidelity.fidelity_table, no_two)): yield f.__name__, f, bad, f'{f.__name__}: said'
    for f, bad in ((test_set.plot_disagreements, [*no_two, dict(a=out, b=out, c=out)]), (test_set.plot_gains, no_two), (test_set.plot_embedding, no_one), (test_set.class_accuracy, no_one),
                   (clusters.cluster_table, no_one)):
        yield f.__name__, lambda v, f=f: f(v, DATA), bad, 'said'
        yield f'{f.__name__}: other data', lambda v, f=f: f(dict(a=out, b=out), v), [DATA.subset(12, 3)], 'different images'
        yield f'{f.__name__}: data', lambda v, f=f: f(dict(a=out, b=out), v), no_data[1:], 'data is'
    yield 'plot_disagreements: n', lambda v: test_set.plot_disagreements(dict(a=out, b=out), DATA, v), NOT_WHOLE, 'plot_disagreements: n'
    yield 'class_correlation', test_set.class_correlation, [None, 5, out.local, out.logits[:1], out.logits.numpy()], '[N,K]'
    yield 'ece', test_set.ece, no_out, 'ece: out'
    yield 'ece: bins', lambda v: test_set.ece(out, v), NOT_WHOLE, 'ece: bins'
    yield 'embed: how', lambda v: test_set.embed(out.features, v), ['pca', 5, None, ''], 'embedding'
    yield 'embed: features', test_set.embed, [None, 5, 'x', out.features[:2], out.features[0], out.features*NAN], '[N,C]'
    yield 'neighbour_purity: k', lambda v: test_set.neighbour_purity(out.features, out.y, v), [6, *NOT_WHOLE], 'neighbour_purity: k'
    yield 'neighbour_purity: y', lambda v: test_set.neighbour_purity(out.features, v, 2), [out.y[:2], []], 'labels for 6 images'
    yield 'cell_vectors', lambda v: clusters.cell_vectors(v, 2), no_out, 'cell_vectors: out'
    yield 'cell_vectors: m', lambda v: clusters.cell_vectors(out, v), [3, 0, None, 'x'], 'unknown scale'
    yield 'cluster_cells: k', lambda v: clusters.cluster_cells(clusters.cell_vectors(out, 2), v), [25, *NOT_WHOLE], 'cluster_cells: k'
    yield 'cluster_agreement', lambda v: clusters.cluster_agreement([0, 1], v), [[], [0], [0, 1, 1]], 'groupings'
    yield 'bird_parts', clusters.bird_parts, [None, 5, 'eagle', '', []], 'unknown species'
    yield 'plot_clusters: images', lambda v: clusters.plot_clusters(dict(a=out), DATA, v, 2), [None, [], [6], [-1], ['a'], [.5]], 'plot_clusters: images'
    yield 'score_map: model', lambda v: image.score_map(v, X), no_net, 'score_map: model'
    yield 'score_map: images', lambda v: image.score_map(net, v), [None, 5, X.long(), X[:, :2], X[:0], X[0, 0], X.numpy()], 'images'
    one, shown = X[:1], dict(augment=DATA.augment, classes=DATA.classes)
    for f in (image.plot_score_maps, image.plot_predictions):
        name = f.__name__
        yield f'{name}: models', lambda v, f=f: f(v, one, 0, **shown), [None, [], {}, net, [net], dict(a=5)], f'{name}: models'
        yield f'{name}: image', lambda v, f=f: f(dict(a=net), v, 0, **shown), [None, X, X[0], X[:0], one.long(), 'x'], 'one image'
        yield f'{name}: y', lambda v, f=f: f(dict(a=net), one, v, **shown), no_label, f'{name}: y'
        yield f'{name}: augment', lambda v, f=f: f(dict(a=net), one, 0, v, DATA.classes), [None, 5, {}, DATA], 'augment'
    yield 'plot_grams: models', lambda v: image.plot_grams(v, one), [None, [], {}, net, dict(a=5)], 'plot_grams: models'
    yield 'plot_grams: scales', lambda v: image.plot_grams(dict(a=net), one, v), NO_SCALES, 'scales'
    yield 'plot_grams: T', lambda v: image.plot_grams(dict(a=net), one, (2,), v), NOT_ABOVE_0, 'plot_grams: T'
    given = dict(make=Net, objectives=dict(kd=objective('kd')), data=DATA, teacher=net, recipe=Recipe(1, bs=6), seeds=1)
    def beside(k, v): return train_beside(**(given | {k: v}))
    yield 'train_beside: make', partial(beside, 'make'), [None, 5, net, lambda seed: net], 'make is a function'
    yield 'train_beside: what it makes', partial(beside, 'make'), [lambda: None, lambda: Net], 'what make() returns'
    yield 'train_beside: the same again', lambda v: train_beside(**(given | dict(make=v, seeds=2))), [lambda: net], 'the same network twice'
    yield 'train_beside: objectives', partial(beside, 'objectives'), [None, {}, [], 'kd', objective('kd')], 'objectives'
    yield 'train_beside: seeds', partial(beside, 'seeds'), [None, 0, -1, [], [0, 0], 2.5, 'x'], 'seeds'
    yield 'train_beside: folder', partial(beside, 'folder'), [5, b'x', ['a'], 'a\0b'], 'train_beside: folder'
    yield 'train_beside: recipe', partial(beside, 'recipe'), [None, 5, {}], 'recipe'
    yield 'plot_beside: base', lambda v: plot_beside(measured(train_beside(**given)), base=v), ['sd_kd', 5], 'unknown method'
    yield 'choose_scales: model', lambda v: choose_scales(v, DATA), no_net, 'a network'
    yield 'choose_scales: data', lambda v: choose_scales(net, v), no_data, 'data is'
    yield 'choose_scales: criterion', lambda v: choose_scales(net, DATA, v), ['best', None, 5], 'criterion'
    yield 'choose_scales: batches', lambda v: choose_scales(net, DATA, batches=v), NOT_WHOLE, 'batches'
    yield 'export_model: model', lambda v: export_model(v, tmp/'net.pt2'), no_net, 'export_model: model'
    yield 'export_model: path', lambda v: export_model(net, v), NO_NAME, 'export_model: path'
    yield 'export_model: format', lambda v: export_model(net, tmp/'net.pt2', v), ['x', 5, [], 'onnx'], 'format'
    yield 'export_model: size', lambda v: export_model(net, tmp/'net.pt2', image_size=v), [*NOT_WHOLE, (3,), (3, 0), (3, 'x', 8)], 'image_size'
    yield 'export_model: another size', lambda v: export_model(net, tmp/'net.pt2', image_size=v), [(2, 8, 8), (3, 8)], 'does not take these images'

def make_checkpoints(tmp):
    "Files of others that hold no weights, or weights that are no numbers"
    for name in ('others', 'nothing', 'odd'): (tmp/name).mkdir()
    sd = create_model('resnet8', 5, seed=0).state_dict()
    others = dict(keras=b'\x89HDF\r\n\x1a\n', gzip=gzip.compress(b'x'), pickle=pickle.dumps(sd), arrays=pickle.dumps(dict(a=np.eye(2))), page=b'<html>', lfs=b'version https://git-lfs.github.com/spec/v1',
                  nothing=b'', safetensors=bytes(8) + b'{"w"', text=b'weights')
    for name, data in others.items(): (tmp/'others'/f'{name}.pth').write_bytes(data)
    (tmp/'others'/'graph.onnx').write_bytes(b'\x08\x07')
    np.savez(tmp/'others'/'arrays.npz', **{'fc.weight': np.eye(2)})
    torch.save(sd, tmp/'others'/'named_otherwise.safetensors')
    for name, o in dict(empty={}, none=None, number=5, texts=dict(a='b'), optimizer=torch.optim.SGD([torch.zeros(1)], .1).state_dict(), nested=dict(a=dict(b=[1, None]))).items(): torch.save(o, tmp/'nothing'/f'{name}.pth')
    odd = dict(whole={'fc.weight': sd['fc.weight'].char()}, truth={'fc.weight': sd['fc.weight'] > 0}, imaginary={'conv1.weight': sd['conv1.weight'].to(torch.complex64)}, sparse={'fc.weight': sd['fc.weight'].to_sparse()},
               meta={'fc.weight': sd['fc.weight'].to('meta')}, variance={'bn1.running_var': -sd['bn1.running_var']})
    for name, o in odd.items(): torch.save(sd | o, tmp/'odd'/f'{name}.pth')

def make_files(tmp):
    "Files that hold something else than they should"
    for name in ('empty', 'half/CUB_200_2011', 'hints', 'ledger', 'notes'): (tmp/name).mkdir(parents=True)
    for part in ('train', 'test'):
        for c in 'ab':
            (tmp/'photos'/part/c).mkdir(parents=True)
            for i in range(2): Image.new('RGB', (8, 8), (i, 0, 0)).save(tmp/'photos'/part/c/f'{i}.png')
    np.savez(tmp/'own.npz', x=np.zeros((12, 8, 8), np.uint8), y=np.arange(12) % 3)
    for name in ('text.npz', 'text.safetensors'): (tmp/name).write_text('no such file')
    (tmp/'zeros.pth').write_bytes(bytes(100))
    torch.save([1, 2], tmp/'list.pth')
    torch.save(create_model('resnet14', 5).state_dict(), tmp/'other.pth')
    for part in ('learn', 'look'): (tmp/'other_names'/part/'a').mkdir(parents=True)
    make_checkpoints(tmp)
    hints = dict(layers=['a', 'b'], points=[0], labels=[0, 0], similarity=[[1, .5], [.5, 1]])
    wrong = dict(text='no json', number='5', a_list='[]', empty='{}', null='null', nan='{"layers": NaN}', newer=dict(hints, version=99), version='{"version": "x"}', more=dict(hints, x=1),
                 layers=dict(hints, layers=5), names=dict(hints, layers=[1, 2]), points=dict(hints, points=[5]), float_points=dict(hints, points=[.5]), labels=dict(hints, labels=[0]),
                 text_labels=dict(hints, labels=['a', 'b']), similarity=dict(hints, similarity=[[1]]), words=dict(hints, similarity=[['a', 'b'], ['c', 'd']]), scores=dict(hints, scores=5), keys=dict(hints, scores=dict(x=1)),
                 source=dict(hints, source=5), metric=dict(hints, metric=5), shapes=dict(hints, shapes=5))
    for name, o in wrong.items(): (tmp/'hints'/f'{name}.json').write_text(o if isinstance(o, str) else json.dumps(o))
    wrong = dict(text='no json', number='5', a_list='[1]', empty='{}', null='null', newer='{"schema": 99}', schema='{"schema": "x"}', unhashable='{"schema": []}', no_settings='{"schema": 2}', settings='{"schema": 2, "settings": 5}',
                 other_name='{"schema": 2, "settings": {"dataset": "x"}}')
    for name, text in wrong.items(): (tmp/'ledger'/f'{name}.json').write_text(text)
    wrong = dict(text='no json', number='5', a_list='[1]', empty='{}', null='null', table='{"table": 5, "views": []}', views='{"table": {}, "views": 5}', no_views='{"table": {}}')
    for name, text in wrong.items(): (tmp/'notes'/f'{name}.json').write_text(text)
    return tmp

TABLES = dict(scores=lambda tmp: scores_rows(), hyper=lambda tmp: hyper_rows(), idea=lambda tmp: idea_rows(), training=lambda tmp: training_rows(),
              images=image_rows, files=file_rows, pictures=picture_rows, parameters=lambda tmp: parameter_rows())

@pytest.fixture(scope='module')
def tmp(tmp_path_factory): return make_files(tmp_path_factory.mktemp('bad'))

def fault(call, value, words):
    "What is wrong with the answer to a bad value; None if nothing is"
    try: call(value)
    except OWN as e:
        last = traceback.extract_tb(e.__traceback__)[-1]
        own = last.filename.startswith(HOME) and 'raise' in last.line
        if not own: return f'not in our words: {type(e).__name__}: {e}'
        if words not in str(e): return f'lacks {words!r}: {e}'
    except Exception as e: return f'{type(e).__name__}: {e}'
    else: return 'accepted'

ANSWERED = set() # tables

def faults(rows):
    for name, call, values, words in rows:
        for value in values:
            if why := fault(call, value, words): yield f'{name} = {params.shown(value)}: {why}'

@pytest.mark.parametrize('name', TABLES)
def test_every_bad_input_is_answered(name, tmp, monkeypatch):
    "In words of this library, by this library"
    monkeypatch.chdir(tmp)
    found = [*faults(TABLES[name](tmp))]
    assert not found, '\n'.join(found)
    ANSWERED.add(name)

def test_the_corpus_is_large(tmp, measured):
    tried = Counter()
    for table, rows in TABLES.items():
        for name, _, values, _ in rows(tmp): tried[table, name.split(':')[0]] += len(values)
    assert sum(tried.values()) >= 2000
    if ANSWERED == {*TABLES}: measured('bad_inputs', answered=[[*where, n] for where, n in tried.items()])

@pytest.mark.skipif(os.name != 'posix', reason='Windows knows the home folder by other names')
def test_no_home(monkeypatch):
    "A user without a home folder is told what to set"
    for name in ('HOME', 'ICD_NB_DATA', 'ICD_NB_RUNS'): monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr('pwd.getpwuid', lambda uid: (_ for _ in ()).throw(KeyError(uid)))
    with pytest.raises(FileNotFoundError, match='set ICD_NB_DATA'): core.data_home()
    with pytest.raises(FileNotFoundError, match='set ICD_NB_DATA'): load_data('minibirds', n_train=20, n_test=20)
    with pytest.raises(ValueError, match='no home folder'): load_data('~/birds')

@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='needs pipes')
def test_a_file_that_never_ends_and_one_that_lies(tmp):
    "Pipes are not opened, and no memory is taken for what is not there"
    os.mkfifo(tmp/'pipe.npz')
    with pytest.raises(ValueError, match='no such folder or .npz file'): load_data(tmp/'pipe.npz')
    with pytest.raises(FileNotFoundError, match='no such file'): load_npz(tmp/'pipe.npz')
    with pytest.raises(FileNotFoundError, match='no file'): load_weights(create_model('resnet8', 5), tmp/'pipe.npz')

def test_a_name_that_is_not_utf_8(tmp, tmp_path):
    "It could not be written into a result"
    for part in ('train', 'test'): (tmp_path/part/'a').mkdir(parents=True)
    try: os.mkdir(os.fsencode(tmp_path/'train') + b'/Zaunk\xf6nig')
    except OSError: pytest.skip('this file system has no such names')
    with pytest.raises(ValueError, match='is not UTF-8; rename it'): load_folder(tmp_path)
