"What a reader meets in a room: its size, its public names, the length of its lines"
import ast, json, re
import pytest
from conftest import ROOT

LINES, NAMES, WIDTH = 250, 20, 100
GENERATED = {'_modidx'}

def rooms():
    "name → path of each exported module"
    paths = sorted((ROOT/'icd_nb').rglob('*.py'))
    names = {'.'.join(p.relative_to(ROOT/'icd_nb').with_suffix('').parts): p for p in paths}
    return {k: v for k, v in names.items() if k not in GENERATED and v.stat().st_size}

def public_names(text):
    "What stands in `__all__`, and the lines that it takes"
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], 'id', '') == '__all__':
            return ast.literal_eval(node.value), range(node.lineno, node.end_lineno+1)
    return [], ()

def faults(path):
    "What is wrong with a room, in words"
    text = path.read_text()
    lines, (names, made) = text.splitlines(), public_names(text)
    wide = [i for i, line in enumerate(lines, 1) if len(line) > WIDTH and i > 2 and i not in made]
    if len(lines) >= LINES: yield f'{len(lines)} lines'
    if len(names) > NAMES: yield f'{len(names)} public names'
    if wide: yield f'lines of more than {WIDTH} characters: {wide}'

@pytest.mark.parametrize('room', rooms())
def test_a_room_fits_on_a_page(room):
    found = [*faults(rooms()[room])]
    assert not found, found

def imports(path, names):
    "The rooms that a room imports"
    here = '.'.join(path.relative_to(ROOT/'icd_nb').parent.parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom) or not node.level: continue
        base = '.'.join(here.split('.')[:len(here.split('.'))-node.level+1]) if here else ''
        module = '.'.join(o for o in (base, node.module) if o)
        for name in [module, *(f'{module}.{o.name}' if module else o.name for o in node.names)]:
            for found in (name, f'{name}.__init__'):
                if found in names: yield found

def test_rooms_import_each_other_by_place():
    "Else an arrow is not seen here; `nbdev_export` leaves an import absolute that goes over three lines"
    found = {k: [n.module for n in ast.parse(p.read_text()).body if isinstance(n, ast.ImportFrom) and not n.level and n.module.startswith('icd_nb')]
             for k, p in rooms().items()}
    assert not {k: v for k, v in found.items() if v}

def test_arrows_go_down():
    "There is an order in which every room imports only rooms before it"
    left = {k: {*imports(p, rooms())} - {k} for k, p in rooms().items()}
    while free := [k for k, needs in left.items() if not needs & left.keys()]:
        for k in free: left.pop(k)
    assert not left, f'in a circle: {left}'

OPENING = {'core', 'data.__init__', 'models'} # first of their chapter, and made of what follows

def test_numbers_are_the_reading_order():
    "A notebook needs only notebooks before it; three open a chapter whose rooms they bring together"
    number = {k: re.search(r'File to edit: .*/(\w+)\.ipynb', p.read_text())[1] for k, p in rooms().items()}
    late = [(number[k], number[o]) for k, p in rooms().items() if k not in OPENING
            for o in imports(p, rooms()) if number[o] > number[k]]
    assert not late, f'stand before what they need: {late}'

def test_contributing_names_every_room():
    text = (ROOT/'CONTRIBUTING.md').read_text()
    names = {k.removesuffix('.__init__').split('.')[-1] for k in rooms()} - {'__init__'}
    assert not [n for n in names if f'`{n}`' not in text]

@pytest.mark.parametrize('report', sorted((ROOT/'nbs').glob('9?_*.ipynb')), ids=lambda p: p.stem)
def test_a_report_holds_no_definitions(report):
    "A function, a class, a lambda with a name or an export belongs in a room, where it is tested"
    cells = [c for c in json.loads(report.read_text())['cells'] if c['cell_type'] == 'code']
    found = [name for cell in cells for name in definitions(''.join(cell['source']))]
    assert not found, f'{report.name} defines {found}'

def definitions(source):
    if '#| export' in source: yield source.splitlines()[1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)): yield node.name
        named = isinstance(node, (ast.Assign, ast.NamedExpr, ast.AnnAssign))
        if named and isinstance(node.value, ast.Lambda): yield ast.unparse(node)

def test_definitions_are_found():
    assert [*definitions('def f(): pass\nclass A: pass\ng = lambda x: x\nmap(lambda x: x, [])')] == ['f', 'A', 'g = lambda x: x']
