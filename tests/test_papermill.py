"`90_reproduce` as users run it: papermill in a process of its own"
import json, os, re, signal, subprocess, time
from pathlib import Path
import pytest
from conftest import ROOT, TINY
from icd_nb.results.study import RUN_PARAMETERS, Study, check_parameters

def outputs_of(notebook):
    "(cell id, output) for all that a page shows"
    return [(c['id'], o) for c in json.loads(notebook.read_text())['cells'] for o in c.get('outputs', [])]

def test_scales_as_text(reproduce, tmp_path):
    done, report = reproduce(scales='[1,2,4]', seeds=2)
    assert done.returncode == 0, done.stderr[-3000:]
    assert report['settings']['scales'] == [1, 2, 4]
    assert [(o['method'], o['seed']) for o in report['runs']] == [('kd', 0), ('icd_kd', 0), ('kd', 1), ('icd_kd', 1)]
    for o in report['runs']:
        assert {'top1_last', 'top1_best', 'top5_last', 'seconds'} <= o.keys()
        assert 0 <= o['top1_last'] <= o['top1_best'] <= 100
    assert report['summary']['icd_kd']['n'] == 2
    shown = outputs_of(tmp_path/'out.ipynb')
    assert [k for k, o in shown if 'image/png' in o.get('data', {})] == ['result-curves', 'result-pictures']
    assert [o for _, o in shown if o.get('name') == 'stderr'] == []
    replaced = [o for _, o in shown if [*o.get('data', ())] == ['text/plain']] # the line of progress, once
    assert [''.join(o['data']['text/plain']) for o in replaced if ' runs trained in ' in ''.join(o['data']['text/plain'])] and len(replaced) <= 2
    assert len(shown) <= 10
    text = {k: ''.join(o['data']['text/markdown']) for k, o in shown if 'text/markdown' in o.get('data', {})}
    assert [*text] == ['result-conclusion', 'result-table', 'result-places']
    assert 'MiniBirds-192+96-seed0, 1 of 10 epochs, ResNet8 → ResNet8: ' in text['result-conclusion'] and 'icd_kd' in text['result-conclusion']
    assert text['result-table'].splitlines()[0] == '| method | as in | n | top-1 last | top-1 best | difference (95 %) | s per run |'
    lie = re.findall('`(/.+?)`', text['result-places'])
    assert len(lie) == 3 and all(Path(o).exists() for o in lie) and lie[-1].endswith('student.safetensors')

def test_other_scales(reproduce):
    done, report = reproduce(scales='[4,1]', methods='sd_kd')
    assert done.returncode == 0, done.stderr[-3000:]
    assert report['settings']['scales'] == [4, 1]

def test_scales_that_the_teacher_chooses(reproduce, tmp_path):
    "The choice is a list before anything is planned; reasons and cost are printed, and stored with every result that has it"
    done, report = reproduce(scales='auto', methods='kd,sd_kd', teacher_epochs=1)
    assert done.returncode == 0, done.stderr[-3000:]
    chosen = report['scales_chosen']
    assert report['settings']['scales'] == chosen['scales'] == [1, 2, 4]
    assert chosen['criterion'] == 'detail' and chosen['adds']['4'] > .05 and len(chosen['scores']) == 7
    assert chosen['seconds'] > 0 and chosen['share_of_a_training'] > 0
    text = ''.join(''.join(o.get('text', '')) for _, o in outputs_of(tmp_path/'out.ipynb'))
    assert 'scales auto, chosen when the teacher has been trained' in text
    assert 'scales [1, 2, 4], chosen by detail on 64 images in ' in text and '% of the time of one training' in text
    results = {m: json.loads(next(tmp_path.rglob(f'*-resnet8-{m}-*/result.json')).read_text()) for m in ('kd', 'sd_kd')}
    assert results['sd_kd']['scales_chosen']['adds'] == chosen['adds'] and results['sd_kd']['settings']['scales'] == [1, 2, 4]
    assert 'scales_chosen' not in results['kd']
    _, given = reproduce(scales='[1,2,4]', methods='kd,sd_kd', teacher_epochs=1)
    assert given['runs'] == report['runs'] and 'scales_chosen' not in given # the same runs, trained once

def test_the_settings_of_the_pair(reproduce, tmp_path):
    "β, warm-up and clipping as published with method and pair, unless they are given; what was used stands in result.json"
    done, report = reproduce(methods='kd,sd_dkd,icd_dkd,sp', epochs=2)
    assert done.returncode == 0, done.stderr[-3000:]
    told = report['settings']
    assert {m: o.get('dkd_beta') for m, o in told['used'].items()} == dict(kd=None, sd_dkd=2., icd_dkd=2., sp=None)
    assert {m: o['clip'] for m, o in told['used'].items()} == dict(kd=40., sd_dkd=40., icd_dkd=40., sp=0.)
    assert (told['scales'], told['dkd_beta'], told['warmup'], told['clip'], told['lr']) == ([1, 2, 4], 2., 1, None, .05)
    assert 'sd_dkd: as in iCD; β of DKD 2, warm-up 1 of 2 epochs, gradient clipped at 40, lr 0.05' in (tmp_path/'out.ipynb').read_text()
    _, same = reproduce(methods='icd_dkd', epochs=2, dkd_beta=2, warmup=1, clip=40, lr=.05)
    assert same['runs'][0] == next(o for o in report['runs'] if o['method'] == 'icd_dkd') # the same run, not another

def test_settings_of_ones_own(reproduce):
    done, report = reproduce(methods='dkd', dkd_beta=8, warmup=0, clip=0, lr=.01)
    assert done.returncode == 0, done.stderr[-3000:]
    assert report['settings']['used'] == dict(dkd=dict(follows='iCD', dkd_beta=8., warmup=0., clip=0., lr=.01))

def test_others_networks_and_optimizers(reproduce, tmp_path):
    "A student of torchvision, AdamW along a cosine, and TensorBoard: folders have no slash more, files are read back"
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    chosen = dict(optimizer='adamw', schedule='cosine', lr_warmup=1, label_smoothing=.1)
    done, report = reproduce(student='torchvision/shufflenet_v2_x0_5', methods='kd', epochs=2, track='tensorboard', **chosen)
    assert done.returncode == 0, done.stderr[-3000:]
    assert report['settings']['used']['kd'] == dict(follows='SDD', ce_weight=.1, kd_weight=.9, clip=40., lr=.001, **chosen)
    file, = tmp_path.rglob('*-torchvision_shufflenet*/result.json')
    assert {k: v for k, v in json.loads(file.read_text())['settings'].items() if k in chosen} == chosen
    events, = tmp_path.rglob('events.out.*')
    assert [o.step for o in EventAccumulator(str(events)).Reload().Scalars('test/top1')] == [1, 2]

@pytest.mark.parametrize('wrong, says', [(dict(epohcs=3), "Did you mean 'epochs'?"), (dict(dataset='fotos/'), "data set 'fotos/': there is no such folder")])
def test_bad_values_stop_the_run(reproduce, wrong, says):
    done, report = reproduce(**wrong)
    assert done.returncode != 0 and report is None
    assert says in done.stderr, done.stderr[-2000:]

def defaults():
    "The parameter cell's"
    cells = json.loads((ROOT/'nbs'/'90_reproduce.ipynb').read_text())['cells']
    values = {}
    exec(''.join(next(c for c in cells if 'parameters' in c['metadata'].get('tags', ()))['source']), values)
    return values

@pytest.mark.parametrize('wrong, says', [
    (dict(methods='icd_kb'), "parameter methods = 'icd_kb': unknown method 'icd_kb'. Did you mean 'icd_kd'?"), (dict(methods=None), 'parameter methods = None: name at least one method'),
    (dict(dataset='minibird'), "Did you mean 'minibirds'?"), (dict(teacher='resnet18'), "Did you mean 'ResNet18' or 'torchvision/resnet18'"),
    (dict(teacher_checkpoint='nowhere.pt'), "teacher_checkpoint 'nowhere.pt': there is no such file"), (dict(scales='[1,1]'), 'a scale stands there twice'), (dict(scales='auto2'), 'like "[1,2,4]", or auto, or None'),
    (dict(seeds='0-3'), 'or which, such as "[0,1,2,3]"'), (dict(seeds='[0,0]'), 'the seed 0 stands there twice'),
    (dict(n_train='all'), "parameter n_train = 'all': a whole number from 1 to 1000000000, or None"), (dict(lr='auto'), "parameter lr = 'auto': a number above 0, or None"),
    (dict(epochs=1e300), 'parameter epochs = 1e+300: a whole number from 1'), (dict(clip='none'), 'parameter clip'), (dict(dkd_beta=4), 'none of the methods has this hyper-parameter')])
def test_bad_values_are_answered(tmp_path, wrong, says):
    given = defaults() | TINY | dict(out_dir=tmp_path) | wrong
    with pytest.raises(ValueError) as e: Study(check_parameters(given, RUN_PARAMETERS)).plan
    assert says in str(e.value) and '\n' not in str(e.value)
    assert not [*tmp_path.iterdir()]

def test_what_is_done_is_not_run_again(reproduce, tmp_path):
    _, first = reproduce(methods='kd')
    done, second = reproduce(methods='kd,sd_kd')
    assert done.returncode == 0, done.stderr[-3000:]
    assert second['runs'][0] == first['runs'][0]
    assert '1 of 2 runs have no result yet' in (tmp_path/'out.ipynb').read_text()

@pytest.mark.skipif(os.name != 'posix', reason='Windows has other signals')
def test_resumes_after_an_interrupt(reproduce, homes, tmp_path):
    "Stopped in the middle of training by Ctrl-C and run again: the same numbers as in one go"
    long = dict(methods='icd_kd', epochs=12, teacher_epochs=1, n_train=384)
    heed = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) # a process in the background of a shell ignores Ctrl-C, and so would its children
    process = subprocess.Popen(reproduce.command(**long), cwd=ROOT, env=homes, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=heed)
    metrics = lambda: [o for f in (tmp_path/'out').glob('*icd_kd*/metrics.jsonl') for o in f.read_text().splitlines()]
    while process.poll() is None and len(metrics()) < 3: time.sleep(.1)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) != 0
    seen = metrics()
    assert 3 <= len(seen) < 12 and not list((tmp_path/'out').glob('**/result.json'))
    done, report = reproduce(**long)
    assert done.returncode == 0, done.stderr[-3000:]
    assert metrics()[:len(seen)] == seen
    (tmp_path/'out').rename(tmp_path/'stopped')
    done, at_once = reproduce(**long)
    assert [o['top1_last'] for o in report['runs']] == [o['top1_last'] for o in at_once['runs']]

def test_a_validation_part(reproduce, tmp_path):
    "Held-out training images stand for the test images, under a name of their own, beside no published figure"
    done, report = reproduce(validation=.25, n_train=160, n_test=None, methods='icd_kd', gamma=4)
    assert done.returncode == 0, done.stderr[-3000:]
    assert report['settings']['validation'] == .25 and report['summary']['icd_kd']['published'] is None
    file, = (tmp_path/'out').glob('*icd_kd*/result.json')
    settings = json.loads(file.read_text())['settings']
    assert settings['dataset'] == 'minibirds-160+1000-seed0-validation-120+40-seed0' and not {'n_train', 'n_test'} & {k for k, v in settings.items() if v}
    _, plain = reproduce(n_train=160, n_test=None, methods='icd_kd', gamma=4)
    assert len([*(tmp_path/'out').glob('*icd_kd*/result.json')]) == 2 and plain['settings']['validation'] is None
