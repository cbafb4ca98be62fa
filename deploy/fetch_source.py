#!/usr/bin/env python3
"""Fetches the source archive of a Python package, without building anything as pip would.

    fetch_source.py PACKAGE VERSION FILE

Takes it from the index that pip is told to use (PIP_INDEX_URL, pip's configuration, or PyPI) and
checks the hash that the index gives.
"""
import hashlib
import os
import re
import subprocess
import sys
import urllib.parse
import urllib.request


def index() -> str:
    if "PIP_INDEX_URL" in os.environ:
        return os.environ["PIP_INDEX_URL"]
    told = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.index-url"],
        capture_output=True, text=True, check=False)
    return told.stdout.strip() or "https://pypi.org/simple"


def main(package: str, version: str, path: str) -> None:
    page = index().rstrip("/") + f"/{package}/"
    with urllib.request.urlopen(page, timeout=180) as answer:
        links = re.findall(r'href="([^"]+)"', answer.read().decode())
    name = package.replace("-", "_") + f"-{version}.tar.gz"
    found = [link for link in links if link.split("#")[0].endswith(name)]
    if not found:
        sys.exit(f"{page} has no {name}")
    address, _, fragment = urllib.parse.urljoin(page, found[0]).partition("#")
    with urllib.request.urlopen(address, timeout=600) as answer:
        data = answer.read()
    told = dict([fragment.split("=", 1)]) if "=" in fragment else {}
    if "sha256" in told and hashlib.sha256(data).hexdigest() != told["sha256"]:
        sys.exit(f"{address}: not the file that the index describes")
    with open(path, "wb") as file:
        file.write(data)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
