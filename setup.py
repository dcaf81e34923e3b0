"Packaging: everything is read from settings.ini"
import shlex
from configparser import ConfigParser
from pathlib import Path
from setuptools import find_packages, setup

here = Path(__file__).parent
ini = ConfigParser(delimiters=['='])
ini.read(here/'settings.ini', encoding='utf-8')
cfg = ini['DEFAULT']

setup(name=cfg['lib_name'], version=cfg['version'], description=cfg['description'], keywords=cfg['keywords'],
      long_description=(here/'README.md').read_text(encoding='utf-8'), long_description_content_type='text/markdown',
      author=cfg['author'], author_email=cfg['author_email'], url=cfg['git_url'], license='Apache-2.0',
      classifiers=['Development Status :: 3 - Alpha', 'Intended Audience :: Science/Research',
                   'Programming Language :: Python :: 3', 'Topic :: Scientific/Engineering :: Artificial Intelligence'],
      packages=find_packages(include=['icd_nb', 'icd_nb.*']), package_data={'icd_nb': ['*.json']},
      python_requires=f">={cfg['min_python']}",
      install_requires=shlex.split(cfg['requirements']), extras_require={'dev': shlex.split(cfg['dev_requirements'])},
      entry_points={'console_scripts': shlex.split(cfg['console_scripts']), 'nbdev': ['icd_nb=icd_nb._modidx:d']},
      zip_safe=False)
