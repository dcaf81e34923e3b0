"`icd_hints` as users run it: a saved teacher, a small .npz file, a process of its own"
import shlex, subprocess, sys
from configparser import ConfigParser
from importlib import import_module
import numpy as np, pytest
from conftest import BIN, ROOT
from icd_nb.hints import HintPoints
from icd_nb.models import create_model
from icd_nb.weights import save_weights

def scripts():
    "The console scripts of settings.ini: name → module:function"
    ini = ConfigParser(delimiters=['='])
    ini.read(ROOT/'settings.ini', encoding='utf-8')
    return dict(o.split('=') for o in shlex.split(ini['DEFAULT']['console_scripts']))

@pytest.fixture(scope='module')
def files(tmp_path_factory):
    "A checkpoint of a ResNet-14 for 3 classes, and 24 + 6 pictures"
    d, rng = tmp_path_factory.mktemp('hints'), np.random.default_rng(0)
    save_weights(create_model('resnet14', 3, seed=0), d/'teacher.safetensors')
    pictures = lambda n: (rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8), np.arange(n)%3)
    (train_x, train_y), (test_x, test_y) = pictures(24), pictures(6)
    np.savez(d/'pictures.npz', train_x=train_x, train_y=train_y, test_x=test_x, test_y=test_y)
    return d

@pytest.fixture
def icd_hints(files, homes):
    "Run the command in the folder of the files; where it was not installed, a script as pip would write it"
    module, function = scripts()['icd_hints'].split(':')
    script = files/'icd_hints.py'
    script.write_text(f"import sys\nfrom {module} import {function}\nif __name__ == '__main__': sys.exit({function}())\n")
    command = [BIN/'icd_hints'] if (BIN/'icd_hints').exists() else [sys.executable, script]
    def run(**given):
        given = dict(dict(model='resnet14', checkpoint='teacher.safetensors', data='pictures.npz', out='hints.json', device='cpu'), **given)
        args = [str(a) for k, v in given.items() for a in (f'--{k}', v)]
        return subprocess.run([*command, *args], cwd=files, env=homes, capture_output=True, text=True)
    return run

def test_every_script_names_a_function():
    for where in scripts().values():
        module, function = where.split(':')
        assert callable(getattr(import_module(module), function))

def test_hint_points_are_written(icd_hints, files):
    done = icd_hints(k=3, metric='linear_cka', picture='hints.png')
    assert done.returncode == 0, done.stderr[-3000:]
    h = HintPoints.load(files/'hints.json')
    assert (h.k, h.metric, len(h.layers)) == (3, 'linear_cka', 6) and h.source['data'] == 'pictures'
    assert ', '.join(h.names) in done.stdout and 'resnet14: 3 hint points of 6 layers' in done.stdout
    assert (files/'hints.png').stat().st_size > 1000

@pytest.mark.parametrize('wrong, says', [
    (dict(model='resnet8x5'), "unknown model 'resnet8x5'. Did you mean 'resnet8x4'?"),
    (dict(layers='layer1.0,layer2.7'), "unknown layer 'layer2.7'. Did you mean 'layer2.1'?"),
    (dict(checkpoint='nowhere.pth'), 'nowhere.pth'),
    (dict(metric='r2_cca'), 'R²-CCA of 24 images in the 64 channels')])
def test_what_is_wrong_is_said(icd_hints, files, wrong, says):
    done = icd_hints(**wrong, k=2, out='wrong.json')
    assert done.returncode != 0 and not (files/'wrong.json').exists()
    assert says in done.stderr.strip().splitlines()[-1], done.stderr[-2000:]
