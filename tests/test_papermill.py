"`90_reproduce` as users run it: papermill in a process of its own"
import json, signal, subprocess, time
import pytest
from conftest import ROOT

def test_scales_as_text(reproduce, tmp_path):
    done, report = reproduce(scales='[1,2,4]', seeds=2)
    assert done.returncode == 0, done.stderr[-3000:]
    assert report['settings']['scales'] == [1, 2, 4]
    assert [(o['method'], o['seed']) for o in report['runs']] == [('kd', 0), ('icd_kd', 0), ('kd', 1), ('icd_kd', 1)]
    for o in report['runs']:
        assert {'top1_last', 'top1_best', 'top5_last', 'seconds'} <= o.keys()
        assert 0 <= o['top1_last'] <= o['top1_best'] <= 100
    assert report['summary']['icd_kd']['n'] == 2
    pictures = [o for c in json.loads((tmp_path/'out.ipynb').read_text())['cells'] for o in c.get('outputs', []) if 'image/png' in o.get('data', {})]
    assert len(pictures) >= 3

def test_other_scales(reproduce):
    done, report = reproduce(scales='[4,1]', methods='sd_kd')
    assert done.returncode == 0, done.stderr[-3000:]
    assert report['settings']['scales'] == [4, 1]

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

@pytest.mark.parametrize('wrong, says', [
    (dict(epohcs=3), "Did you mean 'epochs'?"), (dict(methods='icd_kb'), "Did you mean 'icd_kd'?"), (dict(scales='[1,1]'), 'a scale stands there twice'),
    (dict(dataset='minibird'), "Did you mean 'minibirds'?"), (dict(teacher_checkpoint='nowhere.pt'), 'there is no such file'),
    (dict(seeds='[0,0]'), 'the seed 0 stands there twice'), (dict(clip='none'), 'parameter clip'), (dict(dkd_beta=4), 'none of the methods has such a thing')])
def test_bad_values_stop_the_run(reproduce, wrong, says):
    done, report = reproduce(**wrong)
    assert done.returncode != 0 and report is None
    assert says in done.stderr, done.stderr[-2000:]

def test_what_is_done_is_not_run_again(reproduce, tmp_path):
    _, first = reproduce(methods='kd')
    done, second = reproduce(methods='kd,sd_kd')
    assert done.returncode == 0, done.stderr[-3000:]
    assert second['runs'][0] == first['runs'][0]
    assert 'about' in (tmp_path/'out.ipynb').read_text() and '1 of 2 runs have no result yet' in (tmp_path/'out.ipynb').read_text()

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
