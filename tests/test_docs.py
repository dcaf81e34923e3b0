"The documentation site builds without a warning, and its links lead somewhere"
import re, subprocess, sys
from pathlib import Path
from conftest import ROOT
from test_in_sync import to_headings

def test_site(homes, tmp_path):
    done = subprocess.run([sys.executable, '-m', 'mkdocs', 'build', '--strict', '-q', '-d', tmp_path], cwd=ROOT, env=homes, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    for name in (p.stem for p in (ROOT/'nbs').glob('*.ipynb')): assert (tmp_path/f'{name}.html').exists(), name
    page, api = (tmp_path/'index.html').read_text(), (tmp_path/'api'/'losses.html').read_text()
    assert 'href="91_cifar100.html"' in page and '#| hide' not in page and 'weight of a complementary cell' in api
    for path in {*tmp_path.rglob('*.html')} - {tmp_path/'404.html'}: # its links are absolute
        links = re.findall(r'href="(?!\w+:|#|//)([^"#]+)', path.read_text())
        assert not [o for o in links if o.endswith('.ipynb') or not (path.parent/o).exists()], path.name
    for page, name, heading in to_headings():
        link = f'href="{name.removesuffix(".ipynb") + ".html" if name else ""}#{heading.lower()}"'
        assert link in (tmp_path/f'{page.stem}.html').read_text() and f'id="{heading.lower()}"' in (tmp_path/f'{Path(name).stem or page.stem}.html').read_text(), (page.stem, link)
