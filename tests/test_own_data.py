"Data and checkpoints that users bring: CUB's archive, a folder of images, RepDistiller's checkpoints"
import tarfile
from unittest import mock
import numpy as np, pytest, torch
from PIL import Image
from icd_nb.data import (DATASETS, Augment, DataSet, ImageData, load_data, register,
                         train_batches)
from icd_nb.models import create_model, load_weights
from icd_nb.results.run import dataset_record

BIRDS = ['001.Black_footed_Albatross', '002.Laysan_Albatross', '003.Sooty_Albatross']

def picture(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 52, 3), np.uint8)).save(path)

@pytest.fixture
def cub(tmp_path, monkeypatch):
    "An archive in the official layout: 3 classes, 4 images each, half of them for training"
    monkeypatch.setenv('ICD_NB_DATA', str(tmp_path/'home'))
    root, n, images, labels, split = tmp_path/'made'/'CUB_200_2011', 0, [], [], []
    for c, bird in enumerate(BIRDS, 1):
        for k in range(4):
            n += 1
            images.append(f'{n} {bird}/{bird[4:]}_{k:04d}.jpg'); labels.append(f'{n} {c}'); split.append(f'{n} {k%2}')
            picture(root/'images'/bird/f'{bird[4:]}_{k:04d}.jpg', n)
    for name, lines in dict(images=images, image_class_labels=labels, train_test_split=split, classes=[f'{c} {b}' for c, b in enumerate(BIRDS, 1)]).items():
        (root/f'{name}.txt').write_text('\n'.join(lines) + '\n')
    return root

def check_cub(data):
    assert data.num_classes == 3 and (len(data.train_y), len(data.test_y)) == (6, 6)
    assert data.train_x.shape == (6, 256, 256, 3) and data.augment.size == 224 and data.drop_last
    assert data.train_y.tolist() == [0, 0, 1, 1, 2, 2]

def test_cub_folder(cub): check_cub(load_data('cub200', cub.parent))

def test_cub_archive(cub, tmp_path):
    (tmp_path/'data').mkdir()
    with tarfile.open(tmp_path/'data'/'CUB_200_2011.tgz', 'w:gz') as t: t.add(cub, 'CUB_200_2011')
    check_cub(load_data('cub200', tmp_path/'data'))

def test_cub_missing_says_what_where_and_from(tmp_path, monkeypatch):
    monkeypatch.setattr('urllib.request.urlopen', lambda *a, **k: (_ for _ in ()).throw(OSError('no network')))
    monkeypatch.setattr('urllib.request.urlretrieve', lambda *a, **k: (_ for _ in ()).throw(OSError('no network')))
    with pytest.raises(FileNotFoundError) as e: load_data('cub200', tmp_path/'none')
    for part in ('CUB_200_2011.tgz', str(tmp_path/'none'), 'data.caltech.edu', '97eceeb196236b17998738112f37df78'): assert part in str(e.value)

def test_cub_cache_half_written(cub, tmp_path):
    first = load_data('cub200', cub.parent)
    x = first.train_x.clone()
    for f in (tmp_path/'home').rglob('*.npy'): f.write_bytes(f.read_bytes()[:1000])
    again = load_data('cub200', cub.parent)
    assert torch.equal(again.train_x, x)

def test_folder_through_90(reproduce, tmp_path):
    for part in ('train', 'test'):
        for c in ('wren', 'robin'):
            for k in range(12): picture(tmp_path/'photos'/part/c/f'{k}.png', hash((part, c, k)) % 2**31)
    done, report = reproduce(dataset=tmp_path/'photos', n_train=None, n_test=None, student='MobileNetV2', teacher='MobileNetV2', methods='icd_kd', bs=8)
    assert done.returncode == 0, done.stderr[-3000:]
    assert report['runs'][0]['method'] == 'icd_kd' and 0 <= report['runs'][0]['top1_last'] <= 100

@pytest.mark.parametrize('wrap', [lambda s: s, lambda s: {'model': s, 'epoch': 240, 'accuracy': np.float64(75.6)}, lambda s: {'model': {f'module.{k}': v for k, v in s.items()}}])
def test_repdistiller_checkpoint(wrap, tmp_path):
    a, b = create_model('wrn_16_1', seed=1).eval(), create_model('wrn_16_1', seed=2).eval()
    torch.save(wrap(a.state_dict()), tmp_path/'ckpt_epoch_240.pth')
    load_weights(b, tmp_path/'ckpt_epoch_240.pth')
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(a(x), b(x))

def test_checkpoint_as_teacher_in_90(reproduce, tmp_path):
    torch.save({'model': create_model('resnet8', num_classes=20, seed=3).state_dict()}, tmp_path/'teacher.pth')
    done, report = reproduce(teacher_checkpoint=tmp_path/'teacher.pth', methods='kd')
    assert done.returncode == 0, done.stderr[-3000:]
    torch.save({'model': create_model('resnet8', num_classes=100, seed=3).state_dict()}, tmp_path/'teacher.pth')
    done, _ = reproduce(teacher_checkpoint=tmp_path/'teacher.pth', methods='kd')
    assert done.returncode != 0 and 'create_model' in done.stderr

def test_a_data_set_of_your_own():
    "One record in one file, and the name works"
    def load_noise(data_dir=None, n=24):
        x, y = torch.arange(n*16*16*3).view(n, 16, 16, 3).to(torch.uint8), torch.arange(n) % 3
        return ImageData('noise', x, y, x, y, ['a', 'b', 'c'], Augment(16, pad=2))
    with mock.patch.dict(DATASETS):                                      # forgotten after the test
        register('noise', DataSet(load_noise, 'Noise', ('resnet14', 'resnet8'), epochs=2, shape=(3, 16)))
        part = load_data('noise', n=12).subset(6)
        assert [len(b.y) for b in train_batches(part, 4, device='cpu')] == [4, 2]
        known = dataset_record(part.name)
        assert (known.paper_name, known.teacher_epochs) == ('Noise', 2)
        with pytest.raises(ValueError, match="Did you mean 'noise'"): load_data('noize')