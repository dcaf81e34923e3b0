"The modules and the README say what the notebooks say"
import json, os, re, shutil, subprocess, sys
from pathlib import Path
from icd_nb.results.ledger import Ledger
from icd_nb.results.overview import ledger_state
from make_readme import ROOT, images, readme

def test_modules_are_exported(tmp_path):
    for name in ('settings.ini', 'setup.py', 'README.md'): shutil.copy(ROOT/name, tmp_path)
    shutil.copytree(ROOT/'nbs', tmp_path/'nbs', ignore=shutil.ignore_patterns('.ipynb_checkpoints'))
    env = {k: v for k, v in os.environ.items() if k != 'IN_TEST'}
    subprocess.run([Path(sys.executable).parent/'nbdev_export'], cwd=tmp_path, env=env, check=True)
    fresh = {p.relative_to(tmp_path): p.read_text() for p in (tmp_path/'icd_nb').rglob('*.py')}
    kept = {p.relative_to(ROOT): p.read_text() for p in (ROOT/'icd_nb').rglob('*.py')}
    assert fresh.keys() == kept.keys(), 'a module without its notebook, or the other way round'
    stale = [str(k) for k in fresh if fresh[k] != kept[k]]
    assert not stale, f'run nbdev_export: {stale}'

def test_readme_is_made():
    assert (ROOT/'README.md').read_text() == readme(), 'run python tests/make_readme.py'
    for path, data in images().items(): assert path.read_bytes() == data, 'run python tests/make_readme.py'

def links(path):
    "What a notebook, its saved outputs or a Markdown file links to, beside it or elsewhere in the repository"
    texts = [path.read_text()]
    if path.suffix == '.ipynb':
        cells = json.loads(path.read_text())['cells']
        texts = [''.join(c['source']) for c in cells if c['cell_type'] == 'markdown']
        texts += [''.join(o.get('data', {}).get('text/markdown', '')) for c in cells for o in c.get('outputs', [])]
    return {o for text in texts for o in re.findall(r'\]\((?!\w+:|#)([^)\s#]+)', text)}

def test_links_lead_somewhere():
    pages = [*(ROOT/'nbs').glob('*.ipynb'), *ROOT.glob('*.md')]
    assert len(links(ROOT/'nbs'/'index.ipynb')) > 100
    gone = [f'{p.name}: {o}' for p in pages for o in links(p) if not (p.parent/o).exists()]
    assert not gone, gone

def prose(path): return '\n'.join(''.join(c['source']) for c in json.loads(path.read_text())['cells'] if c['cell_type'] == 'markdown')

def to_headings():
    "Which notebook links to which heading: page, name of the other notebook or '', heading"
    return [(page, name, heading) for page in (ROOT/'nbs').glob('*.ipynb') for name, heading in re.findall(r'\]\(([^)#:]*)#([^)]+)\)', prose(page))]

def test_links_to_headings_lead_somewhere():
    "As Jupyter spells them, with the capitals of the heading; the site's own spelling is made of these"
    found = to_headings()
    assert len(found) > 4
    for page, name, heading in found:
        there = re.findall('^#+ (.+)$', prose(page.parent/name if name else page), re.M)
        assert heading in [o.replace(' ', '-') for o in there], (page.name, name, heading)

def test_readme_shows_the_ledger():
    state = ledger_state(Ledger(ROOT/'results').to_frame(fresh=True))
    assert state in (ROOT/'README.md').read_text(), 'run nbs/index.ipynb, then python tests/make_readme.py'

def test_saved_outputs_hold_no_path_of_a_machine():
    marks = 'site-packages', str(ROOT), str(Path.home())+'/', '/tmp/'
    for path in (ROOT/'nbs').glob('*.ipynb'):
        outputs = [c.get('outputs', []) for c in json.loads(path.read_text())['cells']]
        found = [m for m in marks if m in json.dumps(outputs, ensure_ascii=False)]
        assert not found, f'{path.name}: {found}'
