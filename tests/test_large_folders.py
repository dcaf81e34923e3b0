"Folders that are decoded on demand: any number of processes, stopped and gone on with, a damaged picture, the recipe of ImageNet in 90"
import numpy as np, pytest, torch
from PIL import Image
from icd_nb.cache import cache_teacher
from icd_nb.data import load_folder
from icd_nb.losses import objective
from icd_nb.models import create_model
from icd_nb.results.study import RUN_PARAMETERS, Study, check_parameters
from icd_nb.trainer import Recipe, Speed, Student, fit, fit_many

PLAIN = dict(device='cpu', speed=Speed.plain())

@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    "Twelve training and four test pictures of two classes, in several sizes"
    root = tmp_path_factory.mktemp('photos')
    for part, n in dict(train=12, val=4).items():
        for i in range(n):
            path = root/part/'ab'[i % 2]/f'{i}.jpg'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.random.default_rng(i).integers(0, 256, (40+i, 60-i, 3), np.uint8)).save(path)
    return root

def load(photos, decoders=0): return load_folder(photos, 36, crop=32, crops='imagenet', decoders=decoders)

def student(**kw): return Student(create_model('resnet8', 2, seed=0), objective('icd_kd'), recipe=Recipe(2, bs=4), **kw)

def weights(st): return torch.cat([v.double().flatten() for v in st.model.state_dict().values()])

def test_any_number_of_processes_and_a_stop_within_an_epoch(photos, tmp_path, monkeypatch):
    teacher = create_model('resnet8', 2, seed=7)
    whole = fit(student(), load(photos), teacher, **PLAIN)
    stopped, = fit_many([student(folder=tmp_path)], load(photos, 2), teacher, deadline=0, **PLAIN)
    assert (stopped.epoch, len(stopped.rows)) == (0, 1)
    data, seen = load(photos), []
    one = data.train_x.decoder.one
    monkeypatch.setattr(data.train_x.decoder, 'one', lambda i, seed=None: (seen.append(seed), one(i, seed))[1])
    again = fit(student(folder=tmp_path), data, teacher, **PLAIN)
    assert torch.equal(weights(again), weights(whole))
    assert [seed[-1] for seed in seen if seed and seed[-1]] == 8*[1] + 12*[2] # what the first step had seen is not decoded again

def test_a_damaged_picture_is_named(photos, tmp_path):
    for path in sorted(photos.rglob('*.jpg')):
        new = tmp_path/path.relative_to(photos)
        new.parent.mkdir(parents=True, exist_ok=True)
        new.write_bytes(path.read_bytes()[:300 if path.name == '9.jpg' else None])
    with pytest.raises(ValueError, match=f'{tmp_path}/train/b/9.jpg cannot be read as an image'):
        fit(student(), load(tmp_path, 1), create_model('resnet8', 2), **PLAIN)

def test_views_that_cannot_be_counted_are_not_cached(photos):
    with pytest.raises(ValueError, match='its views cannot be counted'): cache_teacher(create_model('resnet8', 2), load(photos), device='cpu')

def test_the_recipe_of_imagenet_in_90(photos, tmp_path, monkeypatch):
    monkeypatch.delenv('IN_TEST', raising=False)
    usual = dict.fromkeys(RUN_PARAMETERS) | dict(gamma=2., optimizer='sgd', schedule='steps', lr_warmup=0, label_smoothing=0., pretrained=False, compile=False, graph=False)
    given = usual | dict(dataset=str(photos), recipe='imagenet', decoders=0, teacher='resnet8', student='resnet8', methods='sd_kd', seeds=1, epochs=1, bs=6,
                         teacher_epochs=1, device='cpu', precision='fp32', out_dir=str(tmp_path))
    study = Study(check_parameters(given, RUN_PARAMETERS))
    study.lab.teachers = tmp_path
    assert '16 pictures, cropped at any size: decoded on demand' in study.plan and 'recipe of ImageNet, 1 of 100 epochs, batches of 6' in study.plan
    result, = study.results
    s = result['settings']
    assert (s['recipe_of'], s['lr'], s['scales'], s['hyper']) == ('imagenet', .2*6/512, [1, 2], dict(T=1., ce_weight=.5, kd_weight=.5))
    study.pictures()
