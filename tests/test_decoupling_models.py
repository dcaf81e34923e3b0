"Local logits of torchvision's and timm's classifiers as they are, and what is refused"
import pytest, torch, torchvision
from torch import nn
from torchvision.models import get_model
from icd_nb.decoupling import local_logits, Scorer
from icd_nb.heads import eval_mode
from icd_nb.rows import CellRows
from icd_nb.pooling import multiscale_pool

TORCHVISION = dict(resnet18=64, resnet50=64, resnext50_32x4d=64, mobilenet_v2=64, mobilenet_v3_small=64, mobilenet_v3_large=64, efficientnet_b0=64, convnext_tiny=64,
                   densenet121=64, regnet_y_400mf=64, regnet_x_400mf=64, shufflenet_v2_x0_5=64, mnasnet0_5=64, googlenet=64, inception_v3=107, squeezenet1_1=64, swin_t=64)
NOT_AFFINE = {'mobilenet_v3_small', 'mobilenet_v3_large', 'convnext_tiny'}
TIMM = ('resnet18 resnet18d resnetv2_50 seresnext26d_32x4d mobilenetv2_050 mobilenetv3_small_050 efficientnet_b0 tf_efficientnet_lite0 convnext_atto convnextv2_atto densenet121 '
        'regnety_002 regnetx_002 mnasnet_050 ghostnet_100 hrnet_w18_small dla34 rexnet_100 nf_resnet26 repvgg_a0 mobilenetv4_conv_small lcnet_050 inception_next_atto starnet_s1').split()

def torchvision_model(name):
    torch.manual_seed(0)
    kw = dict(init_weights=False) if name in ('googlenet', 'inception_v3') else {}
    return get_model(name, num_classes=10, **kw).eval()

def images(size, n=2): return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(1))

def check(model, x):
    "Whole images score as in the model itself, and cells as the model scores an image whose map is that cell all over"
    with torch.no_grad():
        z, mode, scorer = model(x), CellRows(), Scorer(model, (1,2,4), chained=False)
        s = scorer(x)
        with mode: model(x)
        tol = 1e-4*z.abs().max()
        assert s.local.shape == (len(x), 10, 21) and s.scales == (1,2,4)
        assert (s.logits-z).abs().max() < tol and (s.local[..., 0]-z).abs().max() < tol
        cells = multiscale_pool(mode.fmap, (1,2,4), chained=False)
        for p in (2, 20):
            with OneCell(mode.place, cells[..., p]): one = model(x)
            assert (s.local[..., p]-one).abs().max() < tol
    return scorer

class OneCell(CellRows):
    "The last whole-map average of a forward pass comes out as `cell` `[B,C]`"
    def __init__(self, place, cell):
        super().__init__()
        self.last, self.cell = place, cell
    def __torch_function__(self, func, types, args=(), kwargs=None):
        place, out = self.place, super().__torch_function__(func, types, args, kwargs)
        return self.cell.reshape(out.shape) if self.place == self.last != place else out

@pytest.mark.parametrize('name', TORCHVISION)
def test_torchvision(name):
    head, = check(torchvision_model(name), images(TORCHVISION[name])).heads.values()
    assert head.affine == (name not in NOT_AFFINE)

@pytest.mark.parametrize('name', TIMM)
def test_timm(name):
    timm = pytest.importorskip('timm')
    torch.manual_seed(0)
    if not timm.is_model(name): pytest.skip(f'this timm has no {name}')
    check(timm.create_model(name, num_classes=10).eval(), images(64))

class Body(nn.Module):
    "A small CNN in the manner of one family, to be refused"
    def __init__(self, how, head=8):
        super().__init__()
        self.conv, self.how, self.fc = nn.Conv2d(3, 8, 3, padding=1), how, nn.Linear(head, 10)
    def forward(self, x): return self.fc(self.how(self.conv(x)))

@pytest.mark.parametrize('how,head', [(lambda f: f.amax((2,3)), 8), (lambda f: nn.functional.adaptive_avg_pool2d(f, 7).flatten(1), 8*49), (lambda f: f.sum((2,3))/256, 8)])
def test_refuses_models_that_average_no_map(how, head):
    with pytest.raises(ValueError, match='never averages a whole feature map'): local_logits(Body(how, head), images(16))

F = torch.nn.functional

@pytest.mark.parametrize('how', [lambda f: f.mean(3).mean(2), lambda f: f.mean(-2).mean(-1), lambda f: torch.mean(f.mean(2, keepdim=True), (2,3)), lambda f: f.mean(dim=3, keepdim=True).mean(dim=2).flatten(1),
                                 lambda f: f.flatten(2).mean(2), lambda f: f.view(*f.shape[:2], -1).mean(-1), lambda f: torch.flatten(f, 2).mean(dim=[2]), lambda f: F.adaptive_avg_pool1d(f.flatten(2), 1).flatten(1)])
def test_averages_in_two_steps(how):
    torch.manual_seed(0)
    model, x = Body(how), images(16)
    check(model.eval(), x)
    scorer = Scorer(model)
    torch.compiler.reset() # it gives up after eight networks
    assert torch.equal(torch.compile(scorer, backend='eager', fullgraph=True)(x).local, scorer(x).local) if scorer.probe(x) else False

@pytest.mark.parametrize('how', [lambda f: f.mean((2,3)) + f.amax((2,3)), lambda f: (f*f.mean((2,3), keepdim=True)).amax((2,3)), # squeeze and excite, then a maximum
                                 lambda f: torch.nn.functional.avg_pool2d(f, 9).flatten(1), # leaves out a part of the map
                                 lambda f: f.mean((2,3)).sort(0).values]) # mixes the images
def test_refuses_heads_that_see_more_than_rows(how):
    with pytest.raises(ValueError, match='what follows its last average over a feature map cannot score cells'): local_logits(Body(how), images(16))

def test_without_scales_any_model_will_do():
    assert Scorer(torchvision_model('alexnet'), ())(images(64)).logits.shape == (2, 10)

def test_refuses_vgg_and_other_outputs():
    with pytest.raises(ValueError, match='AlexNet never averages.*weighs every place of a 6×6 map by itself'): local_logits(torchvision_model('alexnet'), images(64))
    seg = torchvision.models.segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None)
    with pytest.raises(ValueError, match='a OrderedDict instead of logits'): local_logits(seg, images(64))
    with pytest.raises(ValueError, match='instead of logits'): local_logits(nn.Sequential(nn.Conv2d(3,8,3), nn.AdaptiveAvgPool2d(1)), images(16))

@pytest.mark.filterwarnings('ignore::FutureWarning')
def test_traced_models_are_refused():
    model = torch.jit.trace(Body(lambda f: f.mean((2,3))), images(16))
    with pytest.raises(ValueError, match='never averages'): local_logits(model, images(16))

def test_googlenet_in_training_gives_its_main_logits():
    assert local_logits(torchvision_model('googlenet').train(), images(64, 4)).shape == (4, 10, 21)

def test_inception_in_training_gives_its_main_logits():
    model = torchvision_model('inception_v3').train()
    assert local_logits(model, images(299)).shape == (2, 10, 21)
    model.AuxLogits = None
    assert local_logits(model, images(107)).shape == (2, 10, 21)

class Beside(Body):
    "An auxiliary classifier in training on the same map, before or behind the head"
    def __init__(self, first):
        super().__init__(lambda f: f.mean((2,3)))
        self.first, self.aux = first, nn.Linear(8, 10)
    def forward(self, x):
        f = self.conv(x)
        if not self.training: return self.fc(f.mean((2,3)))
        if self.first: return self.aux(f.mean((2,3)))*0 + self.fc(f.mean((2,3)))
        z = self.fc(f.mean((2,3)))
        return z + 0*self.aux(f.mean((2,3)))

@pytest.mark.parametrize('first', [True, False])
def test_an_average_more_in_training_is_never_mixed_up(first):
    with pytest.raises((ValueError, RuntimeError), match='auxiliary|must match'): local_logits(Beside(first).train(), images(16))

@pytest.mark.parametrize('make', [lambda: torchvision_model('resnet18'), lambda: nn.Sequential(Body(lambda f: f.mean((2,3))), nn.ReLU(), nn.Linear(10, 10))], ids=['affine', 'hidden'])
def test_compiled_in_one_graph(make):
    torch.compiler.reset() # a function that other tests had compiled often enough is not compiled again
    model, x = make(), images(64)
    scorer = Scorer(model)
    s = scorer(x)
    for f in (torch.compile(scorer, backend='aot_eager', fullgraph=True), torch.compile(lambda x: scorer(x), backend='eager', fullgraph=True)):
        assert (f(x).local-s.local).abs().max() < 1e-4*s.local.abs().max()
    assert torch.compile(Scorer(model), backend='eager')(x).local.shape == s.local.shape # not probed before: the first call breaks the graph

def test_layouts_and_precisions():
    model, x = torchvision_model('mobilenet_v2'), images(64)
    s = local_logits(model, x)
    last = local_logits(model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last))
    assert (last-s).abs().max() < 1e-4*s.abs().max()
    with torch.autocast('cpu', torch.bfloat16): half = local_logits(model, x)
    assert half.dtype == torch.float32 and (half-s).abs().max() < .1*s.abs().max() # the head is not in half precision
    double = local_logits(model.double(), x.double())
    assert double.dtype == torch.float64 and (double.float()-s).abs().max() < 1e-4*s.abs().max()

def test_scorer_that_was_probed_in_inference_mode_can_train():
    model, x = Body(lambda f: f.mean((2,3))), images(16)
    scorer = Scorer(model)
    with torch.inference_mode(): scorer(x)
    scorer(x).local.sum().backward()
    assert model.conv.weight.grad.abs().sum() > 0

def test_probe_restores_modes_after_an_error():
    model = Body(lambda f: f.amax((2,3)))
    model.conv.eval()
    with pytest.raises(ValueError): Scorer(model).probe(images(16))
    assert model.training and not model.conv.training and torch.is_grad_enabled()
    with pytest.raises(ZeroDivisionError), eval_mode(model): 1/0
    assert model.training and not model.conv.training
