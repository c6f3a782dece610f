"""``python -m papisim``."""

from papisim.cli import main

if __name__ == "__main__":
    main()
