"""`python -m dupmine`."""

from .cli import main

main()
