"""``python -m mnist_dvc``: the same commands as the console script."""

from mnist_dvc.program import main

if __name__ == "__main__":
    main()
