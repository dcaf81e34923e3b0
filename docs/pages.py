"What the documentation site shows: the notebooks with their saved outputs, and one API page per module, made from its docments"
import inspect, json, logging, pkgutil, posixpath, re, tempfile
from importlib import import_module
from pathlib import Path
from fastcore.docments import docments
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File
import icd_nb
from icd_nb.bundle import about, bundled, chapters

NBS = sorted(bundled('nbs').glob('*.ipynb'))
made = tempfile.TemporaryDirectory() # mkdocs-jupyter reads notebooks from files

# ---- notebooks

def shown(cell):
    "The cell without its directives; None if it is hidden"
    text = ''.join(cell['source'])
    if re.search(r'^#\|\s*(hide|default_exp)\b', text, re.M): return None
    tags = ['hide_input'] if re.search(r'^#\|\s*echo:\s*false', text, re.M) else []
    text = re.sub(r'^#\|.*\n?', '', text, flags=re.M)
    return dict(cell, source=text, metadata=dict(cell['metadata'], tags=tags))

def notebook_file(path, config):
    "A copy of a notebook, as it is shown"
    nb = json.loads(path.read_text(encoding='utf-8'))
    nb['cells'] = [c for c in map(shown, nb['cells']) if c]
    Path(made.name, path.name).write_text(json.dumps(nb), encoding='utf-8')
    return File(path.name, made.name, config.site_dir, config.use_directory_urls)

# ---- API

def modules():
    "Name → module, of all rooms with public names"
    found = [o.name for o in pkgutil.walk_packages(icd_nb.__path__, 'icd_nb.') if not o.name.split('.')[-1].startswith('_')]
    loaded = {name: import_module(name) for name in found if '._files' not in name}
    return {name: m for name, m in loaded.items() if getattr(m, '__all__', None)}

def cell(x): return str(x).replace('|', '\\|').replace('\n', ' ')

NOTHING = inspect.Parameter.empty, None, type(None)

def type_name(o): return '' if o in NOTHING else f"`{cell(getattr(o, '__name__', o))}`"

class Short:
    "A default as it is shown: long ones by their type alone"
    def __init__(self, value): self.value = value
    def __repr__(self):
        text = repr(self.value)
        named = getattr(self.value, '__name__', None)
        return named or (text if len(text) <= 40 and ' at 0x' not in text else f'{type(self.value).__name__}(…)')

def shortened(default): return default if default is inspect.Parameter.empty else Short(default)

def signature(name, f):
    "The signature without types, which stand in the table"
    try: s = inspect.signature(f)
    except (TypeError, ValueError): return name
    bare = [p.replace(annotation=inspect.Parameter.empty, default=shortened(p.default)) for p in s.parameters.values()]
    return name + str(s.replace(parameters=bare, return_annotation=inspect.Signature.empty))

def arguments(f):
    "A table of the documented arguments, and what is returned"
    try: found = docments(f, full=True)
    except Exception: return '' # built in, or made on the fly
    rows = [(k, o) for k, o in found.items() if k not in ('self', 'return') and (o.docment or o.anno is not inspect.Parameter.empty)]
    back, text = found.get('return'), ''
    if rows:
        text = '| argument | type | default | meaning |\n| --- | --- | --- | --- |\n'
        for k, o in rows:
            default = '' if o.default is inspect.Parameter.empty else f'`{cell(repr(Short(o.default)))}`'
            text += f"| `{k}` | {type_name(o.anno)} | {default} | {cell(o.docment or '')} |\n"
    if back and (back.docment or type_name(back.anno)):
        text += f"\nReturns {type_name(back.anno)} {back.docment or ''}\n"
    return text

def entry(name, obj):
    "One public name"
    if not callable(obj): return f'## {name}\n\n```python\n{name} = {value(obj)}\n```\n'
    text = f'## {name}\n\n```python\n{signature(name, obj)}\n```\n\n{inspect.getdoc(obj) or ""}\n\n'
    if not inspect.isclass(obj): return text + arguments(obj)
    text += arguments(obj.__init__)
    for k, method in vars(obj).items():
        call = getattr(method, '__func__', getattr(method, 'fget', method))
        if k.startswith('_') or not inspect.isfunction(call) or not call.__doc__: continue
        head = f'{name}.{k}' if isinstance(method, property) else signature(f'{name}.{k}', call).replace('(self, ', '(').replace('(self)', '()')
        text += f'\n### {name}.{k}\n\n```python\n{head}\n```\n\n{inspect.getdoc(call)}\n\n{arguments(call)}'
    return text

def value(obj):
    "A constant, short"
    text = ', '.join(map(repr, obj)) if isinstance(obj, (dict, set)) else repr(obj)
    text = f'{{{text}}}' if isinstance(obj, (dict, set)) else text
    return text if len(text) < 300 and ' at 0x' not in text else f'… # {type(obj).__name__} of {len(obj)}'

def source_of(module):
    "The name of the notebook that a module was exported from"
    return re.search(r'File to edit: .*/(\w+)\.ipynb', inspect.getsource(module))[1]

def api_page(name, module):
    "The page of a module; names that it passes on have theirs elsewhere"
    nb = source_of(module)
    own = [k for k in module.__all__ if getattr(getattr(module, k), '__module__', name) == name]
    others = ', '.join(f'`{k}`' for k in module.__all__ if k not in own)
    text = f'# {name}\n\n{module.__doc__ or ""}\n\nExplained in [{nb}](../{nb}.ipynb).\n\n'
    if others: text += f'Also found here: {others}.\n\n'
    return text + '\n'.join(entry(k, getattr(module, k)) for k in own)

# ---- the site

def navigation(api):
    "Tutorials and reports, then the chapters in reading order, then the API"
    pages = {title: [{about(p)[0]: p.name} for p in paths] for title, paths in chapters().items()}
    tutorials, reports = pages.pop('Tutorials'), pages.pop('Reports')
    order = [{title: found} for title, found in pages.items()]
    return [{'Home': 'index.ipynb'}, {'Tutorials': tutorials}, {'Reports': reports}, {'Reading order': order}, {'API': api}]

def on_config(config):
    config.api = {f'api/{name.removeprefix("icd_nb.")}.md': (name, m) for name, m in modules().items()}
    config.nav = navigation([{name.removeprefix('icd_nb.'): uri} for uri, (name, _) in config.api.items()])
    return config

@event_priority(100) # before mkdocs-jupyter
def on_files(files, config):
    for path in NBS: files.append(notebook_file(path, config))
    for uri, (name, module) in config.api.items(): files.append(File.generated(config, uri, content=api_page(name, module)))
    return files

def on_page_content(html, page, config, files):
    "Links of notebooks lead to pages of the site, or to the repository"
    if not page.file.src_uri.endswith('.ipynb'): return html
    def link(found):
        path, anchor = found[1], (found[2] or '').lower() # headings keep their capitals in Jupyter, not here
        if not path: return f'href="{anchor}"'
        if path.endswith('.ipynb'):
            if not files.get_file_from_path(path): logging.getLogger('mkdocs').warning(f'{page.file.src_uri}: a link to {path}')
            return f'href="{path.removesuffix(".ipynb")}.html{anchor}"'
        return f'href="{config.repo_url}/blob/main/{posixpath.normpath("nbs/" + path)}"'
    return re.sub(r'href="(?!\w+:)([^"#]*)(#[^"]*)?"', link, html)

def on_post_build(config): made.cleanup()
