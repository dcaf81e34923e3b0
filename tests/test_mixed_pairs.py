"Transformers and CNNs teach each other: other grids, other layouts, other sizes of image"
import pytest, torch
from torchvision.models import VisionTransformer
from torchvision.models.swin_transformer import SwinTransformer
from icd_nb.cache import cache_teacher
from icd_nb.libraries import AtSize
from icd_nb.losses import objective
from icd_nb.models import create_model
from icd_nb.trainer import Recipe, Speed, Student, fit_many
from test_features import FEATURES, check_no_trace, distil, noise

def seeded(make, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()

def vit(size=32):
    model = seeded(lambda: VisionTransformer(size, 8, num_layers=4, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=4))
    seeded(lambda: torch.nn.init.normal_(model.heads.head.weight)) # torchvision begins with zeros
    return model
def swin(): return seeded(lambda: SwinTransformer([4, 4], 16, [2, 2], [2, 4], [4, 4], num_classes=4))
def resnet(): return create_model('resnet8', 4, seed=1)
def upscaled(): return AtSize(vit(48), 48)

LOGITS = ['kd', 'sd_kd', 'icd_kd']
PAIRS = dict(vit_cnn=(vit, resnet, [*LOGITS, *FEATURES]), upscaled_cnn=(upscaled, resnet, [*LOGITS, 'at', 'rkd', 'fitnet_hints']),
             swin_cnn=(swin, resnet, [*LOGITS, 'fitnet', 'at', 'crd', 'at_hints']), cnn_vit=(resnet, vit, [*LOGITS, 'fitnet', 'at', 'sp', 'reviewkd', 'at_hints']),
             vit_swin=(vit, swin, [*LOGITS, 'mgd', 'semckd', 'vid_hints']))

@pytest.mark.parametrize('pair', PAIRS)
@pytest.mark.filterwarnings('ignore:.*repeat each other')
def test_mixed_pairs(pair, tmp_path):
    teacher, make_student, methods = PAIRS[pair]
    teacher = teacher()
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    students = distil(methods, teacher, make_student, noise(32), tmp_path)
    check_no_trace(students, teacher, before, list(make_student().state_dict()))
    for st in students: assert all(v > 0 for k, v in st.history[-1]['terms'].items()), (st.name, st.history[-1])

@pytest.mark.filterwarnings('ignore:.*repeat each other')
def test_compiled_is_plain():
    from test_fast_path import check_same, data
    pytest.importorskip('timm')
    check_same(data.__wrapped__(), ('timm/test_vit', 'resnet8'), ('kd', 'icd_kd'), compile='aot_eager')

@pytest.mark.filterwarnings('ignore:.*repeat each other')
def test_looked_up_is_live():
    "A cached ViT says what the live one says; its scale 1 is no average of finer cells, so all scales are kept"
    data, runs = noise(32, 8), []
    cached = cache_teacher(vit(), data, (1,2), device='cpu', dtype=torch.float32, speed=Speed.plain())
    assert cached.keep == (1,2)
    for teacher in (vit(), cached):
        students = [Student(resnet(), objective(m, (1,2)), (1,2), Recipe(epochs=1, bs=8, lr=.01), name=m) for m in ('kd', 'icd_kd')]
        runs.append(fit_many(students, data, teacher, device='cpu', speed=Speed.plain()))
    for live, looked_up in zip(*runs): assert live.history[-1]['terms'] == pytest.approx(looked_up.history[-1]['terms'], rel=1e-4)

def test_from_the_command_line(reproduce):
    pytest.importorskip('timm')
    done, report = reproduce(teacher='timm/test_vit', methods='sd_kd,icd_kd', scales='[1,2]')
    assert done.returncode == 0, done.stderr[-3000:]
    assert [o['method'] for o in report['runs']] == ['sd_kd', 'icd_kd']
