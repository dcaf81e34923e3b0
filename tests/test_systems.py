"Windows and Macs, as far as files can show it: encodings, ends of lines, names"
import ast, os, subprocess, sys
from collections import Counter
import pytest
from conftest import ROOT

FILES = [*sorted((ROOT/'icd_nb').rglob('*.py')), ROOT/'setup.py', ROOT/'tests'/'make_readme.py']

def in_own_words(path):
    "Calls that take what the system takes for text: an encoding that differs, ends of lines that differ"
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if not isinstance(node, ast.Call): continue
        name = getattr(node.func, 'attr', getattr(node.func, 'id', ''))
        given, modes = {k.arg for k in node.keywords}, [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        asked = {'write_text': {'encoding', 'newline'}, 'read_text': {'encoding'}}.get(name, set())
        if name == 'open' and isinstance(node.func, ast.Name) and not any('b' in m and len(m) <= 3 for m in modes): asked = {'encoding'}
        if asked - given: yield f'{path.name}:{node.lineno} {name} without {asked-given}'

def test_texts_are_the_same_everywhere():
    found = [o for path in FILES for o in in_own_words(path)]
    assert not found, found

def test_such_calls_are_found(tmp_path):
    (tmp_path/'a.py').write_text("open('x'); open('x', 'rb'); p.read_text(); p.write_text(t, encoding='utf-8')", encoding='utf-8')
    assert len([*in_own_words(tmp_path/'a.py')]) == 3

def test_the_readme_is_made_in_any_locale():
    env = dict(os.environ, LC_ALL='C', PYTHONUTF8='0', PYTHONCOERCECLOCALE='0')
    done = subprocess.run([sys.executable, '-c', 'from make_readme import readme; readme()'], cwd=ROOT/'tests', env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

@pytest.mark.skipif(not (ROOT/'.git').exists(), reason='a checkout, and no package')
def test_a_checkout_on_windows_has_the_same_bytes(tmp_path):
    "As git for Windows has it by default; .ci/run would not run there"
    for name in ('.gitattributes', '.ci/run', 'README.md'):
        (tmp_path/'a'/name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path/'a'/name).write_bytes((ROOT/name).read_bytes())
    def git(*words, at='a'): subprocess.run(['git', '-c', 'user.name=a', '-c', 'user.email=a', *words], cwd=tmp_path/at, check=True)
    for words in (['init', '-q'], ['add', '-A'], ['commit', '-qm', 'a']): git(*words)
    git('clone', '-q', '-c', 'core.autocrlf=true', 'a', 'b', at='')
    for name in ('.ci/run', 'README.md'): assert (tmp_path/'b'/name).read_bytes() == (ROOT/name).read_bytes()

def test_names_of_files_do_not_collide():
    "Where large and small letters are the same, and on Windows, which has reserved names"
    from icd_nb.files import _check_windows
    files = subprocess.run(['git', 'ls-files', '-z'], cwd=ROOT, capture_output=True, text=True).stdout.split('\0')[:-1] if (ROOT/'.git').exists() else [str(p.relative_to(ROOT)) for p in FILES]
    assert not [name for name, n in Counter(map(str.lower, files)).items() if n > 1]
    for name in files: _check_windows(name)
    assert max(map(len, files)) < 120 # below 260 with the folder of a clone
