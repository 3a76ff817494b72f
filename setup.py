"""The description for a package index; everything else is in setup.cfg."""

import re
from pathlib import Path

from setuptools import setup

README = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
# On a package index, a picture of this repository is missing, and a link into it leads nowhere: only its words stay.
PICTURE = re.compile(r"!\[[^]]*\]\([^)]*\)\n\n")
LINK = re.compile(r"\[([^]]*)\]\((?!https?:)[^)]*\)")

setup(long_description=LINK.sub(r"\1", PICTURE.sub("", README)))
