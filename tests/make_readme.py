"Write README.md from nbs/index.ipynb: its prose, its code, its saved outputs; without cells marked `#| hide`"
import base64, json, posixpath, re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT/'nbs'/'images'

def cells():
    "The cells that are shown, as (kind, text, outputs)"
    for i, c in enumerate(json.loads((ROOT/'nbs'/'index.ipynb').read_text(encoding='utf-8'))['cells']):
        text = ''.join(c['source'])
        if re.search(r'^#\|\s*(hide|default_exp)\b', text, re.M): continue
        yield i, c['cell_type'], '' if re.search(r'^#\|\s*echo:\s*false', text, re.M) else text, c.get('outputs', [])

def pictures(outputs): return [base64.b64decode(''.join(o['data']['image/png'])) for o in outputs if 'image/png' in o.get('data', {})]

def images():
    "path → bytes of the saved plots"
    return {IMAGES/f'index-{i}-{j}.png': data for i, _, _, outputs in cells() for j, data in enumerate(pictures(outputs))}

def shown(i, outputs):
    "The outputs of a cell as Markdown"
    for j, o in enumerate(outputs):
        data = o.get('data', {})
        if 'text/markdown' in data: yield ''.join(data['text/markdown'])
        elif text := o.get('text') or ('image/png' not in data and data.get('text/plain')): yield '```\n' + ''.join(text).rstrip() + '\n```'
    for j, _ in enumerate(pictures(outputs)): yield f'![](images/index-{i}-{j}.png)'

def from_the_root(text):
    "Markdown whose links begin in the notebooks' folder, with links that begin where the README lies"
    return re.sub(r'\]\((?!\w+:|#)([^)\s]+)', lambda found: '](' + posixpath.normpath(f'nbs/{found[1]}'), text)

def readme():
    "The text of README.md"
    parts = []
    for i, kind, text, outputs in cells():
        said = f'```python\n{text}\n```' if kind == 'code' and text else from_the_root(text)
        parts += [said, *map(from_the_root, shown(i, outputs))]
    return '\n\n'.join(p for p in parts if p) + '\n'

if __name__ == '__main__':
    IMAGES.mkdir(exist_ok=True)
    for old in IMAGES.glob('index-*.png'): old.unlink()
    for path, data in images().items(): path.write_bytes(data)
    (ROOT/'README.md').write_text(readme(), encoding='utf-8', newline='\n')
    print(f'README.md: {len(readme())} characters, {len(images())} pictures')
