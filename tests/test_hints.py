"Hint points beyond what the notebook tries: more networks, awkward numbers, the tiles at several sizes, and memory"
import warnings
from contextlib import nullcontext
import numpy as np, pytest, torch, torch.nn as nn, torchvision
from icd_nb import hints
from icd_nb.hints import median
from icd_nb.hints import METRICS, HintPoints, MeansNothing, cluster_layers, linear_cka, r2_cca, rbf_cka, select_hints
from icd_nb.hints.blocks import block_means, find_blocks
from icd_nb.hints.clusters import k_medoids
from icd_nb.hints.median import median_sq_distance, normal as rand
from icd_nb.hints.points import PUBLISHED_POINTS, student_points
from icd_nb.hints.similarity import layer_similarity, minibatch_cka, orthonormal, unbiased_products
from icd_nb.models import MODELS, create_model

def numpy_kernel_cka(X, Y, f=None):
    "CKA from N×N matrices in NumPy; rbf with bandwidth `f`, else linear"
    N = len(X)
    C = np.eye(N) - 1/N
    def kernel(X):
        if f is None: return C @ (X@X.T) @ C
        d = ((X[:,None] - X[None])**2).sum(-1)
        return C @ np.exp(-d/(2*f*f*np.median(d))) @ C
    K, L = kernel(X), kernel(Y)
    return (K*L).sum()/np.sqrt((K*K).sum()*(L*L).sum())

def numpy_r2_cca(X, Y):
    X, Y = X - X.mean(0), Y - Y.mean(0)
    basis = lambda A: (lambda u, s: u[:, s > 1e-10*s[0]])(*np.linalg.svd(A, full_matrices=False)[:2])
    return ((basis(X).T@basis(Y))**2).sum()/min(X.shape[1], Y.shape[1])     # the columns, not the rank

def few(N, C):
    "What is said of R²-CCA of `N` images in `C` channels: nothing, that it is partly chance, or that it means nothing"
    if N >= 3*C: return nullcontext()
    return pytest.warns(MeansNothing, match='means nothing') if N <= C + 1 else pytest.warns(UserWarning, match='by chance')

FEW = pytest.mark.filterwarnings('ignore:.*_cka of .*by chance')     # few images, on purpose

@FEW
@pytest.mark.parametrize('N,C1,C2', [(2,1,1), (2,5,3), (3,2,7), (10,10,10), (50,3,80), (64,64,1), (200,17,33), (200,300,5)])
@pytest.mark.parametrize('shift', [0., 1e4])
def test_similarities_equal_numpy(N, C1, C2, shift):
    X, Y = rand(N, C1, seed=1)*3 + shift, rand(N, C2, seed=2) - shift
    X[:, 0] += Y[:, 0]
    assert abs(linear_cka(X, Y) - numpy_kernel_cka(X.numpy()-shift, Y.numpy()+shift)) < 1e-8
    with few(N, max(C1, C2)): assert abs(r2_cca(X, Y) - numpy_r2_cca(X.numpy(), Y.numpy())) < 1e-8
    for f in (.3, .5, 1.): assert abs(rbf_cka(X, Y, f) - numpy_kernel_cka(X.numpy(), Y.numpy(), f)) < 1e-8

@FEW
@pytest.mark.parametrize('metric', METRICS)
def test_map_is_the_pairs(metric):
    layers = [rand(90, c, seed=c) @ rand(c, c, seed=9) for c in (1, 4, 120 if 'cka' in metric else 20, 30)] + [torch.ones(90, 3)]
    S, f = layer_similarity(layers, metric), getattr(hints, metric)
    assert S.shape == (5, 5) and torch.equal(S, S.T) or torch.allclose(S, S.T, atol=1e-14)
    for a in range(5):
        for b in range(5): assert abs(S[a,b] - f(layers[a], layers[b])) < 1e-10
    assert (S.diagonal()[:4] - 1).abs().max() < 1e-12 and (S[4] == 0).all()

@FEW
@pytest.mark.parametrize('metric', METRICS)
def test_invariances(metric):
    f = getattr(hints, metric)
    X, Y = rand(80, 9), rand(80, 6, seed=1) + rand(80, 9)[:, :6]
    R, A = torch.linalg.qr(rand(9, 9, seed=2)).Q, rand(9, 9, seed=3)
    assert abs(f(X@R*13 + 5, Y) - f(X, Y)) < 1e-10
    if metric == 'r2_cca': assert abs(f(X@A, Y) - f(X, Y)) < 1e-9
    order = torch.randperm(80, generator=torch.Generator().manual_seed(0))
    assert abs(f(X[order], Y[order]) - f(X, Y)) < 1e-12

@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16, torch.int64])
def test_other_types(dtype):
    X, Y = (3*rand(50, 4)).to(dtype), (3*rand(50, 5, seed=1)).to(dtype)
    for m in METRICS: assert abs(getattr(hints, m)(X, Y) - getattr(hints, m)(X.double(), Y.double())) < 1e-12

def test_dead_channels_count_for_nothing_but_divide():
    "As in Kornblith et al. 2019: over the number of channels; 0.374 of ten channels would be 0.468 of eight directions"
    X, Y = rand(300, 10, seed=1), rand(300, 10, seed=2)
    Y[:, :5] += X[:, :5]
    X[:, 8:], Y[:, 8:] = 0, 3
    live = r2_cca(X[:, :8], Y[:, :8])
    assert abs(r2_cca(X, Y) - .8*live) < 1e-12 and abs(r2_cca(X, X) - .8) < 1e-12
    assert abs(r2_cca(X[:, :8], Y) - live) < 1e-12             # the smaller number of channels has none that are dead

@pytest.mark.parametrize('N, kind', [(20, MeansNothing), (33, MeansNothing), (34, UserWarning), (95, UserWarning), (96, None)])
def test_few_images_are_said(N, kind):
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 32, 3), nn.ReLU())
    images = torch.randn(N, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for given in (images, images.split(7), images.numpy(), ({'pixel_values': o} for o in images.split(9))):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter('always')
            select_hints(net, given, 2)
        assert [o.category for o in said] == ([kind] if kind else [])
        if kind: assert f"{N} images in the 32 channels of layer '3'" in str(said[0].message) and 'at least 96 images' in str(said[0].message)

@pytest.mark.parametrize('metric', ('linear_cka', 'rbf_cka'))
def test_what_cka_has_by_chance_is_said(metric):
    "The number in the warning is the mean over shuffled images; with enough images nothing is said"
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 64, 3), nn.ReLU())
    images = torch.randn(4000, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    X, Y = rand(24, 40), rand(24, 60, seed=1)
    with pytest.warns(UserWarning, match=metric + " of 24 images: layers 'X' and 'Y' would reach") as said: value = getattr(hints, metric)(X, Y)
    told = float(str(said[0].message).split('reach ')[1].split()[0])
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        shuffled = [getattr(hints, metric)(X, Y[torch.randperm(24, generator=torch.Generator().manual_seed(i))]) for i in range(300)]
    assert abs(torch.stack(shuffled).mean() - told) < .01 and abs(value - told) < .05
    with pytest.warns(UserWarning, match="of 10 images: layers '1' and '3' would reach"): select_hints(net, images[:10], 2, metric)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        select_hints(net, images, 2, metric)

def test_float32_rank():
    "A channel that is a sum of others in float32 adds no direction"
    X = rand(2000, 20).float()
    X = torch.cat([X, X@rand(20, 10, seed=1).float()], 1)
    assert orthonormal(X).shape == (2000, 20)

@pytest.mark.parametrize('N', [2, 3, 7, 31, 32, 100, 501, 1200])
@pytest.mark.parametrize('slack', [.01, .0001, 1])
def test_median_is_exact(N, slack):
    X = rand(N, 3, seed=N)
    d = ((X[:,None] - X[None])**2).sum(-1).numpy()
    assert abs(median_sq_distance(X, 64, slack) - np.median(d)) < 1e-9

def test_median_with_ties_and_order():
    "Images sorted by class, and most of them identical"
    X = rand(40, 5).repeat_interleave(20, 0)
    d = ((X[:,None] - X[None])**2).sum(-1).numpy()
    assert abs(median_sq_distance(X) - np.median(d)) < 1e-9
    same = torch.cat([torch.zeros(90, 3).double(), rand(10, 3)])       # the median is 0
    assert 0 < rbf_cka(same, same[:, :2]) <= 1
    assert abs(rbf_cka(same, same) - 1) < 1e-12

AWKWARD = {'sorted by class': lambda: torch.arange(10.).double().repeat_interleave(60)[:,None]*9 + rand(600, 4),
           'one far away': lambda: torch.cat([rand(599, 4), torch.full((1, 4), 3e4).double()]),
           'off centre': lambda: rand(600, 4) + 300, 'few values': lambda: rand(600, 4).sign()/3, 'one channel': lambda: rand(600, 1), 'wide': lambda: rand(300, 900)}

@pytest.mark.parametrize('kind', AWKWARD)
def test_median_of_awkward_numbers(kind):
    X = AWKWARD[kind]()
    d = ((X[:,None] - X[None])**2).sum(-1).numpy()
    assert abs(median_sq_distance(X, tile=128)/np.median(d) - 1) < 1e-9

def test_median_bracket_seldom_misses():
    "Images in the order of their classes are shuffled first, so one pass is enough"
    X, passes, bracket = AWKWARD['sorted by class'](), [], median._median_bracket
    with pytest.MonkeyPatch.context() as m:
        m.setattr(median, '_median_bracket', lambda A, B, slack: passes.append(slack) or bracket(A, B, slack))
        median_sq_distance(X, slack=.02)
    assert passes == [.02]

def test_unbiased_needs_no_centre_and_stays_close():
    X, Y = rand(40, 7), rand(40, 30, seed=1)
    assert (unbiased_products([X+9, Y-3]) - unbiased_products([X, Y])).abs().max() < 1e-8
    base = rand(4000, 24)
    layers = dict(a=base@rand(24, 16, seed=1), b=base@rand(24, 64, seed=2) + rand(4000, 64, seed=3), c=rand(4000, 32, seed=4))
    whole = layer_similarity(layers, 'linear_cka')
    stream = ({n: o[i:i+500] for n, o in layers.items()} for i in range(0, 4000, 500))
    assert (minibatch_cka(stream) - whole).abs().max() < .01

@pytest.mark.parametrize('last', [1, 2, 3, 4, 5, 30])
def test_a_short_last_batch_decides_nothing(last):
    "However few images are left for the last batch, the value stays near that of all images"
    base = rand(800+last, 16)
    layers = [base@rand(16, 32, seed=1), base@rand(16, 64, seed=2) + 3*rand(800+last, 64, seed=3)]
    batches = zip(*(o.split(200) for o in layers))
    assert abs(minibatch_cka(batches)[0,1] - linear_cka(*layers)) < .02

EXPECT = dict(resnet20=9, resnet56=27, resnet110=54, resnet8x4=3, resnet32x4=15, wrn_40_2=18, wrn_16_2=6, vgg8=5, vgg13=10, ResNet50=16, MobileNetV2=17, ShuffleV1=16, ShuffleV2=16)

@pytest.mark.parametrize('name', [n for n in EXPECT if n in MODELS])
def test_blocks_of_the_zoo(name):
    with torch.device('meta'): blocks = find_blocks(create_model(name), torch.zeros(1, 3, 32, 32))
    assert len(blocks) == EXPECT[name]

TV = dict(resnet50=16, resnext50_32x4d=16, vgg16_bn=13, alexnet=5, mobilenet_v2=17, mobilenet_v3_small=11, efficientnet_b0=16, convnext_tiny=18, shufflenet_v2_x1_0=16, densenet121=58, squeezenet1_1=8)

@pytest.mark.parametrize('name', TV)
def test_blocks_of_torchvision(name):
    with torch.device('meta'): blocks = find_blocks(getattr(torchvision.models, name)(), torch.zeros(1, 3, 64, 64))
    assert len(blocks) == TV[name]

def test_blocks_elsewhere():
    goog = torchvision.models.googlenet(init_weights=False, num_classes=10)
    assert len(find_blocks(goog, torch.zeros(1, 3, 64, 64))) == 9 and goog.training
    assert len(find_blocks(torchvision.models.regnet_y_400mf(), torch.zeros(1, 3, 64, 64))) == 16
    timm = pytest.importorskip('timm')
    for name, n in dict(resnet18=8, convnext_atto=12, mobilenetv3_small_050=11, regnetx_002=13).items():
        assert len(find_blocks(timm.create_model(name), torch.zeros(1, 3, 64, 64))) == n

def test_hooks_go_when_the_model_fails():
    class Broken(nn.Module):
        def __init__(self): super().__init__(); self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)
        def forward(self, x): return self.b(self.a(x))/0 if len(x) < 3 else 1/0
    net = Broken().train()
    for f in (lambda: block_means(net, torch.zeros(4, 3, 2, 2), ['a', 'b']), lambda: select_hints(net, torch.zeros(4, 3, 2, 2), 2)):
        with pytest.raises((ZeroDivisionError, ValueError)): f()
    assert net.training and net.a.training and not net.a._forward_hooks and not net.b._forward_hooks

def test_unused_and_repeated_layers():
    class Odd(nn.Module):
        def __init__(self): super().__init__(); self.a, self.b, self.unused = (nn.Conv2d(3, 3, 1) for _ in range(3))
        def forward(self, x): return self.b(self.a(self.a(x)))
    with pytest.raises(ValueError, match="does not go through \\['unused'\\]"): select_hints(Odd(), torch.zeros(4, 3, 2, 2), 2, layers=['a', 'unused'])
    assert list(block_means(Odd(), torch.zeros(4, 3, 2, 2), ['a', 'b'])) == ['a', 'b']

def test_non_finite_weights_are_named():
    net = torchvision.models.resnet18(num_classes=4)
    nn.init.constant_(net.layer3[0].conv1.weight, float('nan'))
    with pytest.raises(ValueError, match="layer 'layer3.0' has features that are NaN"): select_hints(net, torch.randn(4, 3, 32, 32), 3)

@pytest.mark.parametrize('seed', range(20))
def test_clusters_are_sound(seed):
    P = rand(15, 3, seed=seed)
    D = torch.cdist(P, P)
    for cluster in (cluster_layers, k_medoids):
        for k in range(1, 16):
            labels, centres = cluster(D, k)
            assert sorted(set(labels)) == list(range(k)) and (np.diff(centres) > 0).all()
            assert (labels[centres] == np.arange(k)).all()
            assert (D[np.arange(15), centres[labels]] <= D[:, centres].min(1).values + 1e-9).all()
    assert (cluster_layers(D, 4).labels == cluster_layers(D + 1e-15*rand(15, 15, seed=seed).abs().triu(1), 4).labels).all()

def test_student_points_always_fit():
    h = HintPoints([str(i) for i in range(54)], PUBLISHED_POINTS['resnet110'], [0]*54, torch.eye(54).tolist())
    for n in range(3, 60):
        for how in ('even', 'depth'):
            p = student_points(n, h, how)
            assert len(p) == 3 and 0 <= p[0] < p[1] < p[2] < n
    assert student_points(54, h, 'depth') == PUBLISHED_POINTS['resnet110']

@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device here, or not asked for with -m cuda')
def test_cuda_equals_cpu():
    layers = [rand(700, c, seed=c) for c in (5, 40, 900)]
    for m in METRICS: assert (layer_similarity([o.cuda() for o in layers], m).cpu() - layer_similarity(layers, m)).abs().max() < 1e-9
