"Files that other tools read: they parse, and say what settings.ini and the README say"
import ast, json, re
from configparser import ConfigParser
import pytest, yaml
from conftest import ROOT

YAML = ['CITATION.cff', 'environment.yml', '.pre-commit-config.yaml', *sorted(str(p.relative_to(ROOT)) for p in (ROOT/'.github').rglob('*.yml'))]

def read(name): return yaml.safe_load((ROOT/name).read_text())

@pytest.mark.parametrize('name', YAML)
def test_it_parses(name): assert isinstance(read(name), dict)

def test_citations_agree():
    "The three papers stand in CITATION.cff and in the README, and the version is that of settings.ini"
    ini = ConfigParser(delimiters=['='])
    ini.read(ROOT/'settings.ini', encoding='utf-8')
    cited, readme = read('CITATION.cff'), (ROOT/'README.md').read_text()
    assert cited['version'] == ini['DEFAULT']['version'] and cited['repository-code'] == ini['DEFAULT']['git_url']
    assert {o['title'] for o in cited['references']} == {*re.findall(r'^  title +\= \{(.+)\}', readme, re.M)}
    for paper in cited['references']:
        arxiv, = (o['value'].removeprefix('arXiv:') for o in paper['identifiers'])
        assert f'arxiv.org/abs/{arxiv}' in readme

def test_what_is_called_is_there():
    assert (ROOT/'.ci'/'run').exists() and 'bash .ci/run' in (ROOT/'.github/workflows/tests.yml').read_text()
    for hook in read('.pre-commit-config.yaml')['repos'][0]['hooks']:
        first, *rest = hook['entry'].split()
        assert first.startswith('nbdev_') or (ROOT/rest[0]).exists()

def unused_imports(text):
    "Names that a module imports and neither uses nor passes on; `import a.b` alone is for what the module does"
    tree = ast.parse(text)
    nodes = [*ast.walk(tree)]
    imported = {a.asname or a.name for n in nodes if isinstance(n, (ast.Import, ast.ImportFrom)) for a in n.names}
    used = {n.id for n in nodes if isinstance(n, ast.Name)}
    used |= {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)} # `_all_`, annotations
    return {name for name in imported - used if '.' not in name}

def test_every_import_is_used():
    found = {p.relative_to(ROOT).as_posix(): unused_imports(p.read_text(encoding='utf-8')) for p in (ROOT/'icd_nb').rglob('*.py')}
    assert not {k: v for k, v in found.items() if v}

def code_of(nb):
    "All code of a notebook, without what a shell would run"
    cells = [''.join(c['source']) for c in json.loads(nb.read_text(encoding='utf-8'))['cells'] if c['cell_type'] == 'code']
    return re.sub(r'^ *[%!].*$', '', '\n'.join(cells), flags=re.M)

def test_every_import_of_a_notebook_is_used():
    found = {nb.name: unused_imports(code_of(nb)) - {'*', 'icd_nb'} for nb in sorted((ROOT/'nbs').glob('*.ipynb'))} # `import icd_nb` brings the library
    assert not {k: v for k, v in found.items() if v}
