"`icd_nb` as users run it: processes of their own, a saved teacher, small .npz files"
import json, shlex, subprocess, sys
from configparser import ConfigParser
from importlib import import_module
import numpy as np, pytest
from PIL import Image
from conftest import BIN, ROOT, TINY
from icd_nb.bundle import notebook_parameters, reports
from icd_nb.cli import main, parse, parser_of
from icd_nb.hints import HintPoints
from icd_nb.models import create_model
from icd_nb.results.requests import TABLE_PARAMETERS, command, fill_table_parameters
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
def icd_nb(files, homes, tmp_path):
    "Run the command in a folder; where it was not installed, a script as pip would write it"
    module, function = scripts()['icd_nb'].split(':')
    script = tmp_path/'as_pip_writes_it.py'
    script.write_text(f"import sys\nfrom {module} import {function}\nsys.exit({function}())\n")
    command = [BIN/'icd_nb'] if (BIN/'icd_nb').exists() else [sys.executable, script]
    def run(*words, cwd=files, **given):
        words = [str(a) for a in (*words, *(o for k, v in given.items() for o in (f'--{k}', v)))]
        return subprocess.run([*command, *words], cwd=cwd, env=homes, capture_output=True, text=True)
    return run

@pytest.fixture
def hints(icd_nb):
    return lambda **given: icd_nb('hints', **dict(dict(model='resnet14', checkpoint='teacher.safetensors', dataset='pictures.npz', out='hints.json', device='cpu'), **given))

def test_every_script_names_a_function():
    for where in scripts().values():
        module, function = where.split(':')
        assert callable(getattr(import_module(module), function))

def squeezed(text): return ''.join(text.split()) # lines may be broken anywhere

def test_help_names_every_parameter_as_papermill_does(capsys):
    for name, path in reports().items():
        with pytest.raises(SystemExit): main(['reproduce', '--help'] if name == 'reproduce' else ['table', name, '--help'])
        told = squeezed(capsys.readouterr().out)
        for o in notebook_parameters(path):
            assert squeezed(f'--{o.name} {o.type} {o.meaning} (default: {o.default})') in told.replace(f'[{o.type}]', o.type), (name, o)

def test_the_command_that_a_table_prints_works_without_a_checkout(tmp_path, monkeypatch):
    "Whoever has installed the wheel has no nbs/: the printed command is one of `icd_nb`, and its options are known"
    given = dict.fromkeys(TABLE_PARAMETERS) | dict(dataset='minibirds', seeds=[0, 3], precision='auto', graph=False, ledger='my results')
    printed = lambda: shlex.split(command('91_cifar100', fill_table_parameters(given)))
    monkeypatch.chdir(ROOT/'tests')
    assert printed()[:5] == ['papermill', 'nbs/91_cifar100.ipynb', 'out.ipynb', '-p', 'run']
    monkeypatch.chdir(tmp_path)
    start, words = printed()[:3], printed()[3:]
    read = parse(parser_of('table cifar100', '', notebook_parameters(reports()[start[2]])), words)
    assert start == ['icd_nb', 'table', 'cifar100']
    assert read == dict(run='true', minutes='1440', dataset='minibirds', seeds='[0, 3]', graph='False', ledger='my results')

def test_reproduce_in_an_empty_folder(icd_nb, tmp_path):
    "The numbers that papermill gives too lie in the folder, and the tables are printed"
    done = icd_nb('reproduce', cwd=tmp_path, **TINY | dict(out='page.ipynb', out_dir='mine'))
    assert done.returncode == 0, done.stderr[-3000:]
    report, page = json.loads((tmp_path/'mine'/'result.json').read_text()), json.loads((tmp_path/'page.ipynb').read_text())
    assert [o['method'] for o in report['runs']] == ['kd', 'icd_kd'] and report['settings']['n_train'] == 192
    assert '| kd |' in done.stdout and 'page.ipynb holds the page' in done.stdout
    assert any('image/png' in o.get('data', {}) for c in page['cells'] for o in c.get('outputs', []))

@pytest.mark.parametrize('words, says, code', [
    (['reproduce', '--dataset', 'minibird'], "Did you mean 'minibirds'?", 1), (['reproduce', '--epohcs', '3'], "Did you mean '--epochs'?", 2),
    (['tabel'], "Did you mean 'table'?", 2), (['table', 'cifar10'], "Did you mean 'cifar100'?", 2)])
def test_a_mistake_gets_a_sentence(icd_nb, tmp_path, words, says, code):
    (tmp_path/'out.ipynb').write_text('before')
    done = icd_nb(*words, cwd=tmp_path)
    assert done.returncode == code and says in done.stderr.splitlines()[-1] and 'Traceback' not in done.stderr
    assert (tmp_path/'out.ipynb').read_text() == 'before'

def test_debug_shows_where(icd_nb):
    done = icd_nb('hints', '--debug', '--model', 'resnet8')
    assert done.returncode == 1 and 'Traceback' in done.stderr and 'write_hints' in done.stderr

def test_hint_points_are_written(hints, files):
    done = hints(k=3, metric='linear_cka', picture='hints.png')
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
def test_what_is_wrong_is_said(hints, files, wrong, says):
    done = hints(**wrong, k=2, out='wrong.json')
    assert done.returncode == 1 and not (files/'wrong.json').exists()
    assert says in done.stderr.strip().splitlines()[-1] and 'Traceback' not in done.stderr, done.stderr[-2000:]

def test_predict_in_a_process(icd_nb, files, tmp_path):
    "Weights that say nothing of themselves, a picture, one that is none, and the data of the training"
    Image.fromarray(np.load(files/'pictures.npz')['test_x'][0]).save(tmp_path/'a.png')
    (tmp_path/'b.png').write_bytes(b'no picture')
    done = icd_nb('predict', 'teacher.safetensors', tmp_path, top=2, csv=tmp_path/'found.csv', dataset='pictures.npz', device='cpu')
    first, second = done.stdout.splitlines()
    assert done.returncode == 1 and 'b.png cannot be read' in done.stderr and '1 of 2 pictures could not be read' in done.stderr
    assert 'Traceback' not in done.stderr and 'is read as resnet14' in done.stderr and 'brought to 32×32' in done.stderr
    found = [line.split(',') for line in (tmp_path/'found.csv').read_text().splitlines()[1:]]
    assert [o.split()[1] for o in (first, second)] == [o[1] for o in found] and float(found[0][2]) >= float(found[1][2])

def test_a_reader_that_leaves_is_nothing_to_say(homes):
    "As in `icd_nb | head -1`, where `head` has seen enough"
    talks = "import sys, icd_nb.cli as cli; cli._dispatch = lambda words: print('a line'); sys.exit(cli.main([]))"
    process = subprocess.Popen([sys.executable, '-c', talks], env=homes, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert (process.stderr.read(), process.wait()) == ('', 1)
