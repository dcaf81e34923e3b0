"The README's two commands, and the package as a wheel"
import json, re, shutil, subprocess, sys, tarfile, venv
from conftest import BIN, ROOT
from icd_nb.results.study import RUN_PARAMETERS, Study, check_parameters

def shell_commands(): return [o for block in re.findall(r'```sh\n(.*?)```', (ROOT/'README.md').read_text(), re.S) for o in block.strip().splitlines() if o.startswith('python3 -m venv')]

def test_readme_has_two_commands():
    demo, tests = shell_commands()
    setup = "python3 -m venv .venv && .venv/bin/pip install -q -e '.[dev]' && .venv/bin/"
    assert demo == setup + 'papermill nbs/90_reproduce.ipynb out.ipynb -p scales "[1,2,4]"'
    assert tests == setup + 'pytest -n 2 --dist worksteal tests'
    assert tests in (ROOT/'.ci'/'run').read_text()

def test_first_command_runs_the_demo(homes, tmp_path):
    """As the README has it, after its installation, which the tests' own environment has been through, with one epoch per student; with all of them
    where ICD_NB_FULL_DEMO is set"""
    whole = bool(homes.get('ICD_NB_FULL_DEMO'))
    command = shell_commands()[0].split('&& .venv/bin/')[-1].replace('out.ipynb', str(tmp_path/'out.ipynb')) + (' -p epochs 1' if not whole else '')
    done = subprocess.run(command, shell=True, cwd=ROOT, env=homes | {'ICD_NB_RUNS': str(tmp_path/'runs')}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads((tmp_path/'runs'/'result.json').read_text())
    assert [o['method'] for o in report['runs']] == 3*['kd', 'sd_kd', 'icd_kd'] and report['settings']['seeds'] == [0, 1, 2]
    assert report['teacher']['top1'] > 75 > report['summary']['kd']['top1_last'] > (30 if whole else 5)

def test_the_saved_demo_is_that_of_today():
    "Five epochs and three seeds, as the parameters have it; and the page that is kept in the repository says so"
    cells = {c['id']: c for c in json.loads((ROOT/'nbs'/'90_reproduce.ipynb').read_text())['cells']}
    given = {}
    exec(''.join(next(c for c in cells.values() if 'parameters' in c['metadata'].get('tags', ()))['source']), given)
    study = Study(check_parameters(given | dict(device='cpu', precision='fp32'), RUN_PARAMETERS))
    assert (len(study.runs), study.p['epochs'], study.p['seeds']) == (9, 5, [0, 1, 2])
    kept = {k: ''.join(''.join(o.get('text', '')) or ''.join(o['data'].get('text/markdown', '')) for o in c.get('outputs', [])) for k, c in cells.items()}
    assert kept['bd31e011'].strip() == study.plan
    assert '9 of 9 runs' in kept['training'] and kept['result-conclusion'].startswith(f'{study.title}: ')

def relative_links(text): return [o for o in re.findall(r'\]\(([^)\s]+)', text) if not o.startswith(('http', '#'))]

def test_wheel(tmp_path):
    "Built from the sdist, installed beside nothing of the checkout, and used in an empty folder"
    src = tmp_path/'src'
    shutil.copytree(ROOT, src, ignore=shutil.ignore_patterns('.git', '.venv', 'runs', 'build', '*.egg-info', '.ipynb_checkpoints', '__pycache__', '_docs', '_proc'))
    subprocess.run([sys.executable, '-m', 'build', '--outdir', tmp_path/'dist', src], check=True, capture_output=True)
    wheel, = (tmp_path/'dist').glob('icd_nb-*.whl')
    sdist, = (tmp_path/'dist').glob('icd_nb-*.tar.gz')
    held = {name.split('/', 1)[-1] for name in tarfile.open(sdist).getnames()}
    needed = [p.relative_to(src) for folder in ('nbs', 'tests', 'teachers', 'results') for p in (src/folder).rglob('*') if p.is_file()]
    assert not {str(p) for p in needed} - held
    site, empty = tmp_path/'site', tmp_path/'empty'
    empty.mkdir()
    subprocess.run([sys.executable, '-m', 'pip', 'install', '-q', '--no-deps', '--target', site, wheel], check=True)
    code = ("import icd_nb, torch; from icd_nb.models import create_model; from icd_nb.decoupling import local_logits; from icd_nb.results.published import published_figures; "
            "from icd_nb.core import project_file; from icd_nb.results.ledger import Ledger; "
            "print(icd_nb.__file__, tuple(local_logits(create_model('resnet8'), torch.randn(2,3,32,32)).shape), len(published_figures()), "
            "project_file('teachers', 'minibirds-resnet14.safetensors'), len(Ledger()))")
    out = subprocess.run([sys.executable, '-c', code], cwd=empty, env={'PYTHONPATH': str(site)}, check=True, capture_output=True, text=True).stdout.split(' ')
    assert out[0].startswith(str(site)) and out[1:5] == ['(2,', '100,', '21)', '865'] and out[5].startswith(str(site))
    assert int(out[6]) == len([*(ROOT/'results').glob('*.json')])
    about, = site.glob('icd_nb-*.dist-info/METADATA')
    assert relative_links((ROOT/'README.md').read_text()) and not relative_links(about.read_text())
    icd_nb = [sys.executable, '-c', 'import sys; from icd_nb.cli import main; sys.exit(main())']
    subprocess.run([*icd_nb, 'notebooks', 'mine', '--all'], cwd=empty, env={'PYTHONPATH': str(site)}, check=True)
    assert {p.name for p in (empty/'mine').iterdir()} == {p.name for p in (ROOT/'nbs').glob('*.ipynb')}
