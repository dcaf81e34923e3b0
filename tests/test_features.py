"Every feature method through the trainer, between networks that do not go well together"
import pytest, torch, torchvision
from conftest import known
from safetensors.torch import load_file
from icd_nb.data import Augment, ImageData
from icd_nb.features.layers import stages
from icd_nb.features.before import Paraphrase
from icd_nb.features.contrast import VID
from icd_nb.features.maps import AT, FeatureTerm, FitNet, NST
from icd_nb.features.relations import SP
from icd_nb.features.review import MGD
from icd_nb.hints.blocks import find_blocks
from icd_nb.hints.points import even_points
from icd_nb.hints.terms import AtHints
from icd_nb.losses import objective
from icd_nb.methods import METHODS
from icd_nb.models import create_model
from icd_nb.trainer import Recipe, Speed, Student, fit_many

def all_terms(made): # those of a training before this one too
    for o in made.terms.values(): yield from all_terms(o.objective) if o.precedes else [o]

def looks_inside(method): return any(isinstance(o, (FeatureTerm, AtHints)) for o in all_terms(objective(method, **known(method, hints='one, two'))))

FEATURES = [n for n in METHODS if looks_inside(n) and n != 'fsp'] # which compares networks of one width

def noise(size, n=16):
    "Pictures of nothing, of 4 classes"
    g = torch.Generator().manual_seed(0)
    parts = [o for k in (n, 8) for o in (torch.randint(0, 256, (k, size, size, 3), dtype=torch.uint8, generator=g), torch.arange(k)%4)]
    return ImageData('noise', *parts, classes=list('abcd'), augment=Augment(size, 4))

def hooks(net): return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules())

def distil(methods, teacher, make_student, data, folder):
    "Two steps of every method, side by side"
    blocks = list(find_blocks(teacher, torch.zeros(2, 3, data.augment.size, data.augment.size)))
    hyper = dict(hints=[blocks[i] for i in even_points(len(blocks), 3)], negatives=20, before_epochs=1)
    students = [Student(make_student(), objective(m, (1,2), **known(m, **hyper)), (1,2), Recipe(epochs=1, bs=8, lr=.01), name=m, folder=folder/m) for m in methods]
    return fit_many(students, data, teacher, device='cpu', speed=Speed.plain())

def check_no_trace(students, teacher, before, keys):
    "What must hold after training: no error, no hook, no gradient to the teacher, no parameter too many in the checkpoint, adapters trained"
    assert hooks(teacher) == 0 and all(p.grad is None for p in teacher.parameters())
    assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items())
    for st in students:
        assert st.done and st.error is None, st.error
        assert hooks(st.model) == 0, st.name
        assert list(st.model.state_dict()) == keys and load_file(st.folder/'student.safetensors').keys() == set(keys), st.name
        trained = {id(p) for group in st.opt.param_groups for p in group['params']}
        assert trained == {id(p) for p in (*st.model.parameters(), *st.objective.parameters())}, st.name

def test_all_are_here():
    assert {'fitnet', 'at', 'sp', 'rkd', 'pkt', 'vid', 'crd', 'wcord', 'semckd', 'reviewkd', 'mgd', 'nst', 'ab', 'ft', 'fitnet_before', 'fitnet_hints', 'at_hints', 'vid_hints', 'crd_hints', 'atcrd_hints'} <= set(FEATURES)

@pytest.mark.parametrize('teacher, student', [('wrn_16_1', 'MobileNetV2'), ('resnet20', 'ShuffleV1'), ('resnet20', 'vgg8'), ('wrn_16_1', 'resnet8'), ('vgg8', 'resnet8')])
def test_awkward_pairs(teacher, student, tmp_path):
    teacher, make = create_model(teacher, 4, seed=0), lambda: create_model(student, 4, seed=1)
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    students = distil([*FEATURES, 'icd_kd+at+at_hints'], teacher, make, noise(32), tmp_path)
    check_no_trace(students, teacher, before, list(make().state_dict()))

def test_torchvision_pair(tmp_path):
    make = lambda name: getattr(torchvision.models, name)(num_classes=4)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        teacher, student = make('resnet18'), make('mobilenet_v2')
        before = {k: v.clone() for k, v in teacher.state_dict().items()}
        students = distil(['fitnet', 'at', 'crd', 'reviewkd', 'ab', 'ft', 'atcrd_hints', 'icd_kd+at_hints'], teacher, lambda: make('mobilenet_v2'), noise(64), tmp_path)
    check_no_trace(students, teacher, before, list(student.state_dict()))

@pytest.mark.parametrize('name, expected', [
    ('vit_tiny_patch16_224', ['blocks.2', 'blocks.5', 'blocks.8', 'blocks.11']),
    ('mvitv2_tiny', ['stages.0', 'stages.1', 'stages.2', 'stages.3']),
    ('edgenext_xx_small', ['stages.0', 'stages.1', 'stages.2', 'stages'])])
def test_attention_is_no_stage(name, expected):
    "keys and attention `[B, heads, tokens, …]` have four axes, as maps have"
    timm = pytest.importorskip('timm')
    net = timm.create_model(name, num_classes=4).eval()
    assert [*stages(net, torch.randn(1, 3, 224, 224))] == expected

# the layers of RepDistiller, by the number of its stages in each network: 2nd of each, first with first, last of each
OF_STAGES = dict(ResNet='layer1 layer2 layer3 layer4', resnet='layer1 layer2 layer3', wrn='block1 block2 block3', vgg='block1 block2 block3 block4',
                 MobileNetV2='blocks.1 blocks.2 blocks.4 blocks.6', Shuffle='layer1 layer2 layer3')
PAIRS = ('vgg13 MobileNetV2', 'ResNet50 MobileNetV2', 'ResNet50 vgg8', 'resnet32x4 ShuffleV1', 'resnet32x4 MobileNetV2', 'wrn_40_2 vgg8',
         'wrn_40_2 MobileNetV2', 'ResNet50 ShuffleV1', 'wrn_40_2 wrn_16_2')

@pytest.mark.parametrize('pair', PAIRS)
def test_layers_of_a_pair_are_those_of_repdistiller(pair):
    "Also where the two networks have different numbers of stages"
    def stages_of(name): return next(v for k, v in OF_STAGES.items() if name.startswith(k)).split()
    teacher, student = pair.split()
    nets, (s, t) = [create_model(o) for o in (student, teacher)], [stages_of(o) for o in (student, teacher)]
    x = torch.zeros(2, 3, 32, 32)
    for term in (AT(), NST(), VID()): assert term.default_layers(*nets, x) == [*zip(s, t)]
    assert FitNet().default_layers(*nets, x) == [(s[1], t[1])]
    for term in (SP(), MGD(), Paraphrase()): assert term.default_layers(*nets, x) == [(s[-1], t[-1])]
