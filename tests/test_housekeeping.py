"Files that other tools read: they parse, and say what settings.ini and the README say"
import re
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
