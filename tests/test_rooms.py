"What a reader meets in a room: its size, its public names, the length of its lines"
import ast
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
